/**
 * The raw format: a disk that is its file, or a window of it. All requests are passed on; the driver adds
 * only the window's bounds, and the guard of probed images.
 */
import {
  type BlockChild,
  BlockError,
  defineDriver,
  loadOnce,
  type NodeInfo,
  type NodeOps,
  type OpenContext,
  type OptionValues,
  type ReopenRequest,
  SECTOR,
  sharedStorage,
  tailStart,
  type WriteFlag,
} from '@vmblock/block-core/driver'
import { rawCreation } from './create.ts'
import type { Fail } from './rare.ts'
import { fileSize, type RawWindow, rawOptions, windowSize } from './window.ts'

/** The node below handles, or emulates, each of these flags. */
const WRITE_FLAGS: ReadonlySet<WriteFlag> = new Set(['fua'])
const ZERO_FLAGS: ReadonlySet<WriteFlag> = new Set(['fua', 'mayUnmap', 'noFallback'])

/** @throws BlockError EIO if the code cannot be loaded */
const loadRare = loadOnce('raw images that are guessed, or part of a file', () => import('./rare.ts'))

/** Every image is a raw image; the lowest score makes it the last resort. */
const LAST_RESORT = 1

/** The raw format driver. */
export const raw = defineDriver({
  name: 'raw',
  kind: 'format',
  children: { file: sharedStorage((options) => 'offset' in options || 'size' in options) },
  options: rawOptions,
  mutableOptions: ['offset', 'size'],
  creation: async () => rawCreation,
  probe: () => LAST_RESORT,
  open: openRaw,
})

async function openRaw(context: OpenContext<OptionValues<typeof rawOptions>>): Promise<NodeOps> {
  const { nodeName, probed, otherFormat, events } = context
  const file = await context.requireChild('file')
  const fail: Fail = (code, message) => new BlockError(code, message, { node: nodeName })
  let window = await checkedWindow(context.options, file, fail)
  // Only images whose format was probed are guarded.
  const part = probed ? await loadRare() : undefined
  if (part && !context.readOnly) for (const line of part.probedWarning(file.filename)) events.warn(line)
  // Also for a read-only one: a reopen may change that.
  const guard = part && new part.ProbeGuard({ file, nodeName, otherFormat, tailStart, fail })

  return {
    // A write of part of the first sector could not be judged, so the core extends it to whole sectors.
    ...(probed && { limits: { requestAlignment: SECTOR } }),
    writeFlags: WRITE_FLAGS,
    zeroFlags: ZERO_FLAGS,

    size: () => windowSize(window, file),

    async read(offset, into) {
      const announced = file.debugEvent('read_aio')
      if (announced) await announced
      await file.read(window.offset + offset, into)
    },

    async write(offset, from, flags) {
      const announced = file.debugEvent('write_aio')
      if (announced) await announced
      const at = window.offset + offset
      await (guard
        ? guard.write(at, from, (data) => file.write(at, data, flags))
        : file.write(at, from, flags))
    },

    writeZeroes(offset, bytes, flags) {
      const at = window.offset + offset
      const write = (): Promise<void> => file.writeZeroes(at, bytes, flags)
      return guard ? guard.clear(at, bytes, write) : write()
    },

    discard(offset, bytes) {
      const at = window.offset + offset
      const discard = (): Promise<void> => file.discard(at, bytes)
      return guard ? guard.clear(at, bytes, discard) : discard()
    },

    // The data of a copy cannot be checked, so a probed image, which must be guarded, has no copies.
    ...(!probed && {
      copyRange: (offset, bytes, source, sourceOffset) =>
        file.copyRange(window.offset + offset, bytes, source, sourceOffset),
    }),
    flush: () => file.flush(),
    info: () => infoOf(file),

    async blockStatus(offset, bytes) {
      const host = { child: file, offset: window.offset + offset }
      return { bytes, allocated: true, data: true, zero: false, host, forward: true }
    },

    async truncate(size, options) {
      if (!isWhole(window)) (await loadRare()).requireResizable(window, size, fail)
      const end = window.offset + size
      const truncate = (): Promise<void> => file.truncate(end, options)
      await (guard ? guard.resize(end, truncate) : truncate())
    },

    async prepareReopen({ options }: ReopenRequest) {
      const changed = await checkedWindow(options as OptionValues<typeof rawOptions>, file, fail)
      return {
        commit() {
          window = changed
        },
        abort() {},
      }
    },
  }
}

const isWhole = ({ offset, size }: RawWindow): boolean => offset === 0 && size === undefined

/**
 * Takes the window from the options.
 *
 * @throws BlockError EINVAL, in QEMU's words, if it is not inside the file, or not whole sectors
 */
async function checkedWindow(
  { offset, size }: OptionValues<typeof rawOptions>,
  file: BlockChild,
  fail: Fail,
): Promise<RawWindow> {
  const window = { offset, size }
  if (isWhole(window)) return window
  const { requireInside } = await loadRare()
  requireInside(window, fileSize(file), fail)
  return window
}

/** Facts of the file, which hold for the disk as well, except those of its own format. */
async function infoOf(file: BlockChild): Promise<NodeInfo> {
  const { formatSpecific, backingFilename, backingFormat, ...shared } = await file.node.info()
  return shared
}
