/**
 * The cloop format for @vmblock/block-core.
 * @module
 */
export { cloop } from './driver.ts'
