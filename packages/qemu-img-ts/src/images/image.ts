/** Opens images for all subcommands: by file name or by options, with a cache mode. */
import {
  BlockError,
  type BlockNode,
  type Disk,
  messageOf,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core'
import { pathName } from '@vmblock/block-core/driver'
import { CACHE_MODES, cacheMode, Failure, type FailureOptions, readOptionTree, type Warn } from '@vmblock/cli'
import type { Call } from '../kit/command.ts'
import { type Aio, withAio } from './aio.ts'

/** The flags of a cache mode. */
export type CacheFlags = (typeof CACHE_MODES)[keyof typeof CACHE_MODES]

/**
 * Reads the value of `-t` or `-T`.
 *
 * @param what names the option in the message: `cache option`, `source cache option`
 * @throws Failure
 */
export function requireCacheMode(
  name: string | undefined,
  what: string,
  failure: FailureOptions = {},
): CacheFlags {
  const mode = cacheMode(name ?? 'writeback')
  if (!mode) throw new Failure(`Invalid ${what}: ${name}`, failure)
  return mode
}

/** The image to open, and how. */
export interface ImageRequest {
  /** The operand: a file name, or options. */
  readonly name: string
  readonly format?: string | undefined
  /** Whether the operand is a list of options. */
  readonly imageOpts?: boolean | undefined
  readonly forceShare?: boolean | undefined
  readonly cache?: CacheFlags
  /** How requests reach the kernel, unless the image's own options set it. */
  readonly aio?: Aio | undefined
  /** Whether to open for writing. */
  readonly write?: boolean
  /** Whether to open read-only, beside writers and against its own options, only to inspect its files. */
  readonly look?: boolean
  /** More options of the node that the subcommand needs; the image's own options override them. */
  readonly extra?: NodeOptions
}

/** Opens an image, which is closed at the end of the call. @throws Failure `Could not open 'X': ...` */
export const openImage = async (call: Call, request: ImageRequest): Promise<Disk> =>
  call.images.keep(await openBriefly(call, request, call.environment))

/** Opens an image that the caller closes. @throws Failure `Could not open 'X': ...` */
export async function openBriefly(
  { output }: Call,
  request: ImageRequest,
  environment: OpenEnvironment,
): Promise<Disk> {
  const options = nodeOptions(request, output.warn)
  try {
    const { aio } = request
    return await openNode(environment, aio ? withAio(options, aio, environment.registry) : options)
  } catch (error) {
    throw new Failure(`Could not open '${request.name}': ${messageOf(error)}`)
  }
}

/** A cache mode as the options of a node: those that differ from the defaults. */
export const flagsOf = ({ direct, noFlush, writeCache }: CacheFlags) => ({
  ...(direct && { direct: true }),
  ...(noFlush && { 'no-flush': true }),
  ...(!writeCache && { writeback: false }),
})

function nodeOptions(request: ImageRequest, warn: Warn): NodeOptions {
  const { name, format, imageOpts, forceShare } = request
  const cache = request.cache ?? CACHE_MODES.writeback
  const flags = flagsOf(cache)
  const common = {
    ...(!request.write && { 'read-only': true }),
    ...(forceShare && { 'force-share': true }),
    ...request.extra,
  }
  const look = request.look ? { 'read-only': true, 'force-share': true } : {}
  if (!imageOpts)
    return {
      ...(format !== undefined && { driver: format }),
      filename: name,
      ...common,
      ...look,
      ...(Object.keys(flags).length > 0 && { cache: flags }),
    }
  if (format !== undefined) throw new Failure('--image-opts and --format are mutually exclusive')
  const given = readImageOpts(name, warn)
  if (forceShare && given['force-share'] !== undefined && given['force-share'] !== 'on')
    throw new Failure('--force-share/-U conflicts with image options')
  const givenCache = typeof given['cache'] === 'object' ? given['cache'] : {}
  // Cache options of the image win, except for the write cache, which the program sets.
  return { ...common, ...given, ...look, cache: { ...flags, ...givenCache, writeback: cache.writeCache } }
}

function readImageOpts(text: string, warn: Warn): NodeOptions {
  try {
    return readOptionTree(text, warn, 'file')
  } catch (error) {
    throw new Failure(messageOf(error))
  }
}

/** The name of the file at the bottom of a node, from which relative names in its header start. */
export function bottomFilename(node: BlockNode): string {
  let below = node
  while (below.file) below = below.file.node
  return below.driver.takesPaths ? pathName(below.filename) : below.filename
}

/** Converts bytes to a JavaScript number. @throws BlockError EFBIG beyond 2^53-1 */
export function exactBytes(bytes: bigint): number {
  const number = Number(bytes)
  if (!Number.isSafeInteger(number))
    throw new BlockError('EFBIG', `${bytes} bytes are too many: no more than 2^53-1 can be handled`)
  return number
}
