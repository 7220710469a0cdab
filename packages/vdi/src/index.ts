/**
 * VDI images for @vmblock/block-core: VirtualBox's format.
 * @module
 */
export { vdi } from './driver.ts'
