/** The two stores that a page's origin has, for images. */
import {
  type BlockDriver,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  type OpenEnvironment,
  openNode,
  type RawOptions,
  writeLog,
} from '@vmblock/block-core'
import { indexedDb, opfs } from '@vmblock/block-core/browser'
import {
  defineDriver,
  forwardOps,
  type NodeOps,
  type OptionTable,
  objectOf,
} from '@vmblock/block-core/driver'
import { qcow2 } from '@vmblock/qcow2'

/** Called for each request to a store, after it was issued. */
export type OnRequest = () => void

const isOnRequest = (value: unknown): value is OnRequest => typeof value === 'function'

/** A filter between an image and its store that reports requests. */
const tell = defineDriver({
  name: 'tell',
  kind: 'filter',
  options: { onRequest: objectOf(isOnRequest, 'a function', 'is told of each request') },
  async open(context): Promise<NodeOps> {
    const plain = forwardOps(await context.requireChild('file'))
    const { onRequest = () => {} } = context.options
    const told = <T>(given: T): T => {
      onRequest()
      return given
    }
    return {
      ...plain,
      read: (offset, into) => told(plain.read(offset, into)),
      write: (offset, data, flags) => told(plain.write!(offset, data, flags)),
      truncate: (size, options) => told(plain.truncate!(size, options)),
      flush: () => told(plain.flush!()),
    }
  },
})

/** The environment that opens images on the stores of the page. */
export const environment: OpenEnvironment = {
  registry: new DriverRegistry([indexedDb, opfs, qcow2, tell, writeLog]),
  host: denyHost,
}

// biome-ignore lint/suspicious/noExplicitAny: two drivers, of options of their own
export type Store = BlockDriver<any, OptionTable>

/** The stores, in the order of the tests. */
export const STORES: readonly Store[] = [opfs, indexedDb]

let count = 0

/** Creates an empty file under an unused name. @returns the name */
export async function makeFile(store: Store): Promise<string> {
  const filename = `crash-${count++}`
  await store.createFile!({ filename, lockTimeout: LOCK_TIMEOUT, worker: undefined }, 0, 'off')
  return filename
}

/** Milliseconds to wait for a file whose killed holder has not released it yet. */
const LOCK_TIMEOUT = 10_000

/** Opens a file of a store, without a format. */
export const openFile = (store: Store, filename: string): Promise<BlockNode> =>
  openNode(environment, { driver: store.name, filename, lockTimeout: LOCK_TIMEOUT })

/** Makes an image in a file of a store. */
export async function makeImage(store: Store, filename: string, create: RawOptions): Promise<void> {
  const file = await openFile(store, filename)
  await formatImage(qcow2, file, create)
  await file.close()
}

/** Opens the image in a file of a store. */
export const openImage = (
  store: Store,
  filename: string,
  options: RawOptions = {},
  onRequest?: OnRequest,
): Promise<BlockNode> => {
  const stored = { driver: store.name, filename, lockTimeout: LOCK_TIMEOUT }
  const file = onRequest ? { driver: 'tell', onRequest, file: stored } : stored
  return openNode(environment, { driver: 'qcow2', discard: 'unmap', file, ...options })
}
