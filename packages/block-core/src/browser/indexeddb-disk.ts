/** What keeps a disk in the browser's database: few pages need it, so it is loaded with the first such disk. */
export { BlockDisk } from './block-disk.ts'
export { BlockStore } from './block-store.ts'
