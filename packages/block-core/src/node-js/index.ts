/**
 * The parts of the block layer that need Node.js: the `file` and device drivers, and an `ImageResolver` that opens
 * the files that images name.
 * @module
 */

export { filenameToOptions } from '../open/json-name.ts'
export { allocateAligned } from './aligned-buffers.ts'
export { equalBytes, isZeroBytes } from './compare-bytes.ts'
export { type EngineName, makeEngine } from './engines.ts'
export { type FileDriverParts, file, fileDriver } from './file.ts'
export { type NodeHostOptions, nodeHost } from './file-resolver.ts'
export { pathOfUrl } from './file-url.ts'
export type { FilePosition, HostCalls, HostLocks, Where } from './host-calls.ts'
export { hostCdrom, hostDevice, hostDeviceDriver } from './host-device.ts'
export { fromHostError, learnHostErrors } from './host-error.ts'
export type { IoEngine } from './io-engine.ts'
export { type SystemCallsReport, systemCalls, systemCallsReport } from './koffi.ts'
