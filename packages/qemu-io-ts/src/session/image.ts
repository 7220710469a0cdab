/** Opens images as qemu-io does: from a name or options, with the modes of its command line. */
import {
  type BlockNode,
  type Disk,
  insertFilter,
  type OpenEnvironment,
  openNode,
  type RawOptions,
  skipFilters,
} from '@vmblock/block-core'
import { cacheMode, Failure, type OptionKind } from '@vmblock/cli'
import type { CacheFlags, Image, ImageServices } from './services.ts'
import { openOverlay } from './snapshot.ts'

/** The modes of opening an image, from options and flags of the command line. */
export interface OpenModes {
  readonly readOnly: boolean
  readonly cache: CacheFlags
  readonly unmap: boolean
  /** Whether writes go to a temporary overlay, which is lost on close. */
  readonly snapshot: boolean
  readonly copyOnRead: boolean
  readonly forceShare: boolean
  /** Whether native AIO was requested. This is checked, but has no other effect here. */
  readonly nativeAio: boolean
}

/** The default modes of an image: unlike qemu-img's, every write is durable when it completes. */
export const DEFAULT_MODES: OpenModes = {
  readOnly: false,
  cache: { writeCache: false, direct: false, noFlush: false },
  unmap: true,
  snapshot: false,
  copyOnRead: false,
  forceShare: false,
  nativeAio: false,
}

/** An option that changes modes; options apply in the order in which they are given. */
export type ModeChange = (modes: OpenModes) => OpenModes

const change = (apply: ModeChange): OptionKind<ModeChange> => ({ read: () => apply })

/** `-t`. */
export const cacheOption: OptionKind<ModeChange> = {
  argument: 'MODE',
  values: ['none', 'directsync', 'writethrough', 'writeback', 'unsafe'],
  read(name) {
    const cache = cacheMode(name)
    if (!cache) throw new Failure(`Invalid cache option: ${name}`)
    return (modes) => ({ ...modes, cache })
  },
}

const discardOption: OptionKind<ModeChange> = {
  argument: 'MODE',
  values: ['ignore', 'unmap'],
  read(name) {
    const unmap = { on: true, unmap: true, off: false, ignore: false }[name]
    if (unmap === undefined) throw new Failure(`Invalid discard option: ${name}`)
    return (modes) => ({ ...modes, unmap })
  },
}

const AIO_MODES = ['threads', 'native', 'io_uring']

const aioOption: OptionKind<ModeChange> = {
  argument: 'MODE',
  values: AIO_MODES,
  read(name) {
    if (!AIO_MODES.includes(name)) throw new Failure(`Invalid aio option: ${name}`)
    return (modes) => ({ ...modes, nativeAio: modes.nativeAio || name === 'native' })
  },
}

/** The options for the modes of opening, by letter: the same for the program and for `open`. */
export const MODE_OPTIONS = {
  s: change((modes) => ({ ...modes, snapshot: true })),
  n: change((modes) => ({
    ...modes,
    cache: { ...modes.cache, writeCache: true, direct: true } as CacheFlags,
  })),
  C: change((modes) => ({ ...modes, copyOnRead: true })),
  r: change((modes) => ({ ...modes, readOnly: true })),
  k: change((modes) => ({ ...modes, nativeAio: true })),
  i: aioOption,
  t: cacheOption,
  d: discardOption,
  U: change((modes) => ({ ...modes, forceShare: true })),
} as const

/** The image to open. */
export interface ImageRequest {
  readonly filename: string | undefined
  readonly options: RawOptions | undefined
  readonly modes: OpenModes
}

/**
 * Opens an image.
 *
 * @throws Failure with QEMU's message
 */
export async function openImage({ environment }: ImageServices, request: ImageRequest): Promise<Image> {
  const { filename, modes } = request
  const options = request.options ?? {}
  if (modes.forceShare && options['force-share'] !== undefined && options['force-share'] !== 'on')
    throw new Failure('-U conflicts with image options')
  try {
    return await open(environment, filename, options, modes)
  } catch (error) {
    const name = filename === undefined ? '' : ` device ${filename}`
    throw new Failure(`can't open${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

async function open(
  environment: OpenEnvironment,
  filename: string | undefined,
  options: RawOptions,
  modes: OpenModes,
): Promise<Image> {
  const { cache, readOnly, unmap, snapshot, copyOnRead, forceShare, nativeAio } = modes
  if (copyOnRead && readOnly) throw new Error("Can't use copy-on-read on read-only device")
  const given = typeof options['cache'] === 'object' && options['cache'] !== null ? options['cache'] : {}
  const common = {
    cache: { direct: cache.direct, 'no-flush': cache.noFlush, writeback: cache.writeCache, ...given },
    discard: unmap ? 'unmap' : 'ignore',
    'read-only': readOnly || snapshot,
    ...(forceShare && { 'force-share': true }),
  }
  const name = filename === undefined ? {} : { filename }
  const nodes: Disk[] = [await openNode(environment, { ...common, ...options, cache: common.cache, ...name })]
  try {
    if (nativeAio && !nodes[0]!.config.direct && protocolOf(nodes[0]!).driver.name === 'file')
      throw new Error('aio=native was specified, but it requires cache.direct=on, which was not specified.')
    if (snapshot) nodes.unshift(...(await openOverlay(environment, nodes[0]!, { readOnly, cache, unmap })))
    if (copyOnRead) await insertFilter(nodes[0]!, { driver: 'copy-on-read', discard: common.discard })
  } catch (error) {
    await closeAll(nodes).catch(() => undefined)
    throw error
  }
  return {
    node: nodes[0]!,
    close: () => closeAll(nodes),
    async crash() {
      for (const node of nodes) await node.crash()
    },
  }
}

/** Closes nodes from the top down, all of them. @throws the first failure */
async function closeAll(nodes: readonly BlockNode[]): Promise<void> {
  let failure: unknown
  for (const node of nodes) await node.close().catch((error: unknown) => (failure ??= error))
  if (failure !== undefined) throw failure
}

/** The protocol node at the bottom. */
function protocolOf(node: BlockNode): BlockNode {
  let below = node
  while (below.file) below = below.file.node
  return below
}

/**
 * The node that `info` describes: the image that the user opened, not the filter that `-C` puts on top of it,
 * which in QEMU is a flag of the node.
 */
export const describedNode = (node: BlockNode): BlockNode =>
  node.driver.name === 'copy-on-read' ? skipFilters(node) : node
