/**
 * A thread that opens an image for writing, reports whether it could, and keeps it open until it is told to
 * close it.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { DriverRegistry, denyHost, isBlockError, type OpenEnvironment, openNode } from '@vmblock/block-core'
import { fileDriver } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'

const { filename, format, locks } = workerData as { filename: string; format: string; locks: boolean }
const file = fileDriver(locks ? {} : { hostCalls: {}, onUnlocked: () => {} })
const environment: OpenEnvironment = { registry: new DriverRegistry([file, raw, qcow2]), host: denyHost }
openNode(environment, { driver: format, filename }).then(
  (node) => {
    parentPort!.once('message', () => void node.close().then(() => parentPort!.close()))
    parentPort!.postMessage('opened')
  },
  (error: unknown) => {
    parentPort!.postMessage(isBlockError(error) ? error.code : String(error))
    parentPort!.close()
  },
)
