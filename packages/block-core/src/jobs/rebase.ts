/**
 * Gives an overlay another backing file, like `qemu-img rebase`: what the two backing files have different is first copied
 * into the overlay, so that its disk stays the same. Only when that is durable, the header names the new one: after a
 * crash, or a failure, the overlay has its old backing file, and its old content.
 */
import { expects, requireCallback, requireFlag, requireOptions, requireText } from '../base/arguments.ts'
import { alignDown, alignUp, isZero } from '../base/bits.ts'
import { failureOf } from '../base/errno.ts'
import { BlockError, messageOf } from '../base/errors.ts'
import { type JobControl, UNCONTROLLED } from '../contract/job-control.ts'
import type { BlockNode } from '../contract/node.ts'
import { skipFilters } from '../graph/block-status.ts'
import { exchangeBacking, requireExchange } from '../graph/exchange-backing.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import type { LinkedNode } from '../graph/links.ts'
import { requireControl, requireNode } from '../graph/node-arguments.ts'
import { readOnlyError, unsupportedError } from '../graph/node-errors.ts'
import { nodeTitle } from '../graph/node-text.ts'
import { changeGraph } from '../graph/rewire.ts'
import { bottomFilename } from '../open/node-name.ts'
import { openRoot } from '../open/open.ts'
import { type EqualBytes, equalInLoop } from './beneath.ts'
import { FilledOverlay } from './filled-overlay.ts'
import { type LayersBelow, layersBelow } from './layers-below.ts'
import type { ZeroTest } from './sparse-runs.ts'
import { StatusCursor } from './status-cursor.ts'

/** How an overlay is rebased. */
export interface RebaseOptions {
  /** The new backing file, as the header is to name it; null: none. */
  readonly filename: string | null
  /** The format that the header is to give it. Default: that of the node. */
  readonly format?: string | undefined
  /**
   * The new backing file, if it is open already: it stays open, and in use by the overlay. Default: it is opened as it
   * is with the overlay from now on, by the environment's `host`.
   */
  readonly node?: BlockNode | undefined
  /** Whether whole clusters are compressed that are copied. Default: no. */
  readonly compress?: boolean | undefined
  /**
   * Whether an image with internal snapshots is rebased, too: only the disk keeps its content, while the snapshots show
   * the new backing file wherever they showed the old one. Default: no.
   */
  readonly changesSnapshots?: boolean | undefined
  /** A faster comparison, and a faster test for zeroes, than the portable ones. */
  readonly equal?: EqualBytes | undefined
  readonly isZero?: ZeroTest | undefined
}

const REBASE = {
  filename: expects('a file name, or null', (value) => value === null || typeof value === 'string'),
  format: requireText,
  node: requireNode,
  compress: requireFlag,
  changesSnapshots: requireFlag,
  equal: requireCallback,
  isZero: requireCallback,
}

/** Bytes that are compared at once, as in QEMU. */
const PIECE = 2 * 1024 * 1024

/**
 * Exchanges the backing file of an overlay, whose content stays the same: what the old one and the new one have different
 * is copied into the overlay. Its writes wait meanwhile; reads do not. Afterwards the open overlay uses the new one. What
 * both chains show from the same files is not read. Progress is in bytes of the disk.
 *
 * @param control that of the job which this is part of
 * @throws BlockError EINVAL for wrong options, if the new backing file needs the overlay itself, and for a name that
 *   the header cannot hold; ENOSPC if it does not fit; ENOTSUP if the format has no backing files, and for an image with
 *   internal snapshots; EPERM if it is read-only; any error of opening, reading and writing; the reason for a
 *   cancellation: in all these cases the old backing file stands, and the content is the same
 */
export async function rebaseNode(
  top: BlockNode,
  options: RebaseOptions,
  control: JobControl = UNCONTROLLED,
): Promise<void> {
  requireNode(top, 'top')
  requireOptions(options, 'options', REBASE)
  REBASE.filename(options.filename, 'filename')
  requireControl(control, 'control')
  const image = linkedNode(skipFilters(top))
  await requireRebasable(image, options)
  const to = await openBacking(image, options)
  try {
    requireNoLoop(image, to)
    requireExchange(image, to)
    await image.withoutWrites(async () => {
      await copyDifferences(image, to, options, control)
      await control.checkpoint()
      await changeBacking(image, to, options)
    })
  } finally {
    // The overlay did not take it.
    if (to?.isUnused) await to.close().catch(() => undefined)
  }
}

/** @throws BlockError */
async function requireRebasable(image: LinkedNode, { changesSnapshots }: RebaseOptions): Promise<void> {
  if (!image.ops.changeBackingFile) throw unsupportedError(image, 'a backing file')
  if (image.readOnly) throw readOnlyError(image)
  if (!changesSnapshots && (await image.listSnapshots()).length > 0)
    throw new BlockError(
      'ENOTSUP',
      `${nodeTitle(image)} has internal snapshots, which would show the new backing file: delete them first`,
      { node: image.name },
    )
}

/** @returns undefined if there is to be none */
async function openBacking(
  image: LinkedNode,
  { filename, format, node }: RebaseOptions,
): Promise<LinkedNode | undefined> {
  if (filename === null) {
    if (node) throw new BlockError('EINVAL', "Parameter 'node' is given, and 'filename' is null")
    return undefined
  }
  if (node) return linkedNode(node)
  return changeGraph(image, async ({ environment }) => {
    const reference = { filename, ...(format !== undefined && { driver: format }) }
    const options = await environment.host.resolve(reference, bottomFilename(image), 'backing')
    return openRoot(environment, { 'read-only': true, ...options })
  }).catch((error: unknown) => {
    if (!(error instanceof BlockError)) throw error
    const { code, node: name, offset } = error
    const message = `Could not open new backing file '${filename}': ${messageOf(error)}`
    throw new BlockError(code, message, { node: name, offset, cause: error })
  })
}

/** @throws BlockError EINVAL if a node of the new chain is read from the file of the overlay, under whatever name */
function requireNoLoop(image: LinkedNode, to: LinkedNode | undefined): void {
  const own = new Set(filesOf(image, false))
  if (to && [...filesOf(to, true)].some((each) => own.has(each)))
    throw new BlockError('EINVAL', `Backing file '${to.filename}' creates an infinite loop.`, {
      node: to.name,
    })
}

/** The nodes that an image consists of, and the identities of their files. */
function* filesOf(node: LinkedNode, withBacking: boolean): Generator<LinkedNode | string> {
  yield node
  const { identity } = node.ops
  if (identity !== undefined) yield identity
  for (const { kind, node: below } of node.children.values())
    if (withBacking || !kind.isBacking) yield* filesOf(below, withBacking)
}

/** Copies into the image what it must hold itself from now on. Nothing that it shows changes. */
async function copyDifferences(
  image: LinkedNode,
  to: LinkedNode | undefined,
  options: RebaseOptions,
  control: JobControl,
): Promise<void> {
  const { size } = image
  const old = image.backing?.node
  const overlay = new FilledOverlay(image, options)
  const [before, after] = layersBelow(old, to)
  const comparison = new Comparison(before, after, overlay, options)
  const own = new StatusCursor(image, { base: old })
  control.report(0, size)
  for (let offset = 0; offset < size; ) {
    const held = control.checkpoint()
    if (held) await held
    const { allocated, bytes } = await statusAt(own, offset, size)
    const end = offset + bytes
    while (!allocated && offset < end) {
      const next = control.checkpoint()
      if (next) await next
      offset += await comparison.step(offset, end)
      control.report(offset, size)
    }
    offset = end
    control.report(offset, size)
  }
}

const statusAt = (own: StatusCursor, offset: number, size: number) =>
  own.at(offset, size - offset).catch((error: unknown) => {
    throw failureOf('error while reading image metadata', error, offset)
  })

/** Compares what shows through with what will, and copies what differs. */
class Comparison {
  readonly #before: LayersBelow
  readonly #after: LayersBelow
  readonly #overlay: FilledOverlay
  readonly #equal: EqualBytes
  readonly #isZero: ZeroTest
  readonly #old: Uint8Array
  readonly #new: Uint8Array

  constructor(before: LayersBelow, after: LayersBelow, overlay: FilledOverlay, options: RebaseOptions) {
    this.#before = before
    this.#after = after
    this.#overlay = overlay
    this.#equal = options.equal ?? equalInLoop
    this.#isZero = options.isZero ?? isZero
    const piece = alignUp(PIECE, overlay.grain)
    this.#old = new Uint8Array(piece)
    this.#new = new Uint8Array(piece)
  }

  /** Handles the start of a range that the image does not hold. @returns for how many bytes that was */
  async step(offset: number, end: number): Promise<number> {
    const { grain } = this.#overlay
    const [old, next] = await this.#kinds(offset, end)
    const bytes = Math.min(old.bytes, next.bytes)
    if (old.kind === next.kind && old.kind !== 'data') {
      const same = offset + bytes === end ? bytes : alignDown(offset + bytes, grain) - offset
      if (same > 0) return same
    }
    const stop = Math.min(alignUp(offset + bytes, grain), alignDown(offset, grain) + this.#old.length, end)
    await this.#compare(offset, stop, old.kind === 'zero' && offset + old.bytes >= stop)
    return stop - offset
  }

  async #kinds(offset: number, end: number) {
    try {
      return [
        await this.#before.at(offset, end - offset),
        await this.#after.at(offset, end - offset),
      ] as const
    } catch (error) {
      throw failureOf('error while reading image metadata', error, offset)
    }
  }

  /** @param isOldZero whether nothing but zeroes shows through there */
  async #compare(offset: number, end: number, isOldZero: boolean): Promise<void> {
    const old = this.#old.subarray(0, end - offset)
    const next = this.#new.subarray(0, end - offset)
    await Promise.all([
      isOldZero ? old.fill(0) : read(this.#before, 'old', offset, old),
      read(this.#after, 'new', offset, next),
    ])
    const { grain } = this.#overlay
    let run: { readonly start: number; readonly kind: 'same' | 'zero' | 'data' } | undefined
    for (let at = 0; at < old.length || run; ) {
      const stop = Math.min(alignUp(offset + at + 1, grain) - offset, old.length)
      const part = old.subarray(at, stop)
      const kind =
        at >= old.length
          ? undefined
          : this.#equal(part, next.subarray(at, stop))
            ? 'same'
            : this.#isZero(part)
              ? 'zero'
              : 'data'
      if (run && run.kind !== kind) {
        if (run.kind === 'zero') await this.#overlay.zero(offset + run.start, at - run.start)
        else if (run.kind === 'data')
          await this.#overlay.write(offset + run.start, old.subarray(run.start, at))
        run = undefined
      }
      if (kind) run ??= { start: at, kind }
      at = stop
    }
  }
}

const read = (layers: LayersBelow, which: 'old' | 'new', offset: number, into: Uint8Array): Promise<void> =>
  layers.read(offset, into).catch((error: unknown) => {
    throw failureOf(`error while reading from ${which} backing file`, error, offset)
  })

/** The header names the new backing file once the data is durable; then the open image uses it. */
async function changeBacking(
  image: LinkedNode,
  to: LinkedNode | undefined,
  { filename, format }: RebaseOptions,
): Promise<void> {
  const name = filename === '' ? null : filename
  const named = to && name !== null ? (format ?? skipFilters(to).driver.name) : undefined
  await image.exclusive('changeBackingFile', undefined, async (ops) => {
    await ops.flush?.()
    await ops.changeBackingFile!(name, named)
    if (image.backing?.node !== to) await exchangeBacking(image, to)
  })
}
