/**
 * The protocols for disks in browsers: picked files, web servers, and the storage of a page's origin.
 * @module
 */
export { blob } from './blob.ts'
export { http } from './http.ts'
export { indexedDb } from './indexeddb.ts'
export { opfs } from './opfs.ts'
