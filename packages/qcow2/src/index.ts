/**
 * The qcow2 format.
 * @module
 */

export { createQcow2Driver, type Qcow2DriverOptions, qcow2 } from './driver.ts'
export type { ClusterCodec, Codecs } from './image/cluster-codec.ts'
