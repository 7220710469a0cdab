/**
 * The dmg format.
 * @module
 */
export { dmg } from './driver.ts'
