/**
 * The cloop format.
 * @module
 */
export { cloop } from './driver.ts'
