/**
 * Parallels images for @vmblock/block-core.
 * @module
 */
export { parallels } from './driver.ts'
