/**
 * The qcow2 format.
 * @module
 */
export type { ClusterCodec, Codecs } from './compression/codec.ts'
export { createQcow2Driver, type Qcow2DriverOptions, qcow2 } from './driver.ts'
