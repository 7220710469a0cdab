/**
 * The raw format.
 * @module
 */
export { raw } from './raw.ts'
