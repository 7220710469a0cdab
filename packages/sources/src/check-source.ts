/** Checks sources before anything is opened. The error for an invalid source lists the valid ones. */

import {
  bytesOf,
  type Check,
  expects,
  isCount,
  isPlain,
  requireCallback,
  requireCount,
  requireFlag,
  requireOptions,
  requireText,
  wrongValue,
} from '@vmblock/block-core/driver'
import { BlockError, type ImageResolver, isBlockNode } from '@vmblock/block-core/open'
import type { MemorySource, OpenFileHandle } from './source.ts'

/** The options that every source has. */
const COMMON = { format: requireText, readOnly: requireFlag }
const requireSize: Check = (value, name) => {
  if (typeof value !== 'string') requireCount(value, name)
}

const isUrl = (value: unknown): boolean => typeof (value as URL | undefined)?.href === 'string'
const isName = (value: unknown): boolean => typeof value === 'string' || isUrl(value)
/** Text, or a `URL`. */
const requireUrl = expects('a string or a URL', isName)

/** A `FileHandle` of Node.js. */
export const isFileHandle = (value: unknown): value is OpenFileHandle =>
  typeof value === 'object' && value !== null && typeof (value as Partial<OpenFileHandle>).fd === 'number'
const requireFile = expects(
  'a path, a file: URL or a FileHandle',
  (value) => isName(value) || isFileHandle(value),
)

/** A function that makes a worker, or the URL of its script. */
export const requireWorker = expects(
  'a function, or the URL of a script',
  (value) => typeof value === 'function' || typeof value === 'string' || isUrl(value),
)

/** Bytes, or a number of bytes. */
const requireMemory: Check = (value, name) => {
  if (!isCount(value)) memoryBytes(value, name)
}

const memoryBytes = (value: unknown, name: string): Uint8Array =>
  bytesOf(value, name, 'a Uint8Array, an ArrayBuffer, or a number of bytes')

/** The content of a source in memory, or its size in bytes. @throws BlockError EINVAL */
export const contentOf = ({ memory }: MemorySource): Uint8Array | number =>
  isCount(memory) ? memory : memoryBytes(memory, 'memory')

/** The options of each kind of source, by the key that names it. */
const SOURCES: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  file: { file: requireFile, size: requireSize },
  blob: {
    blob: expects('a Blob or File', (value) => typeof (value as Blob | undefined)?.slice === 'function'),
  },
  url: {
    url: requireUrl,
    readAhead: requireCount,
    cacheSize: requireCount,
    timeout: requireCount,
    retries: requireCount,
    ignoreValidators: requireFlag,
    fetch: requireCallback,
  },
  opfs: { opfs: requireText, lockTimeout: requireCount, worker: requireWorker, size: requireSize },
  indexeddb: { indexeddb: requireText, lockTimeout: requireCount, size: requireSize },
  memory: { memory: requireMemory },
}

const notASource = (what: string): BlockError =>
  new BlockError(
    'EINVAL',
    `${what}: a source is a name, a URL, a Blob, bytes, the handle of a file, { file }, { url }, { blob }, { opfs }, ` +
      '{ indexeddb } or { memory: ArrayBuffer }, { overlay, base } of these, a BlockNode, or the options of one',
  )

/**
 * Checks a source. With a `driver` it is the options of a node, which are checked when the node is opened.
 *
 * @throws BlockError EINVAL that lists the valid sources, or names the error in this one
 */
export function requireSource(source: unknown, what = 'source'): void {
  if (isBlockNode(source)) return
  if (!isPlain(source)) throw notASource(wrongValue(what, 'an object', source).message)
  if ('driver' in source) return
  if ('overlay' in source || 'base' in source) {
    requireOptions(source, what, { overlay: requireOverlay, base: requireSource })
    requireOverlay(source['overlay'], 'overlay')
    requireSource(source['base'], 'base')
    return
  }
  // Options of a node whose driver is probed.
  if ('filename' in source) return
  requireImageSource(source, what)
}

function requireImageSource(source: Readonly<Record<string, unknown>>, what: string): void {
  const [kind, other] = Object.keys(SOURCES).filter((key) => key in source)
  if (kind === undefined && 'buffer' in source)
    throw notASource(`'${what}' has a buffer, as the images of v86 have: give { memory: buffer }`)
  if (kind === undefined)
    throw notASource(`'${what}' names nothing that can be opened ({ ${keysOf(source)} })`)
  if (other !== undefined) throw notASource(`'${what}' is both ${kind} and ${other}`)
  requireOptions(source, what, { ...COMMON, ...SOURCES[kind] })
  SOURCES[kind]![kind]!(source[kind], kind)
}

/** The first few keys of an object, for messages. */
const keysOf = (source: object): string => Object.keys(source).slice(0, 5).join(', ').slice(0, 100)

const requireOverlay: Check = (value, name) => {
  if (value === 'memory') return
  if (isPlain(value)) requireImageSource(value, name)
  else throw notASource(wrongValue(name, "a source, or 'memory'", value).message)
}

/** An `ImageResolver`, which decides what images may open. */
export const requireResolver = expects(
  'a host, such as denyHost',
  (value) => typeof (value as Partial<ImageResolver> | undefined)?.resolve === 'function',
)
