/**
 * The qcow2 format.
 * @module
 */
export type { ClusterCodec, Codecs } from './codec.ts'
export { createQcow2Driver, qcow2, type Qcow2DriverOptions } from './driver.ts'
