/**
 * What other packages' tests have to know about qcow2.
 * @module
 */
export { format } from './format.ts'
