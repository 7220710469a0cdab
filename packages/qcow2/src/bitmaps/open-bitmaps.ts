/**
 * The bitmaps of an image that is open for writing, in memory.
 *
 * One rule keeps every crash harmless: before a bitmap in memory differs from the one in the file, that is marked as in
 * use, durably. So the first change of the disk waits until the enabled bitmaps are marked, and a session that changes
 * nothing writes nothing. A bitmap that a crash leaves without the mark is exact; one with it is inconsistent, for ever.
 * (QEMU marks all bitmaps at open, and so loses those too that nothing was going to change.)
 */
import {
  BlockError,
  type Change,
  type ChangeKind,
  type ChangeObserver,
  divUp,
  isBlockError,
  messageOf,
} from '@vmblock/block-core/driver'
import { type BitmapEntry, BitmapFlag } from '../format/bitmap-layout.ts'
import type { HostRange } from '../format/host-range.ts'
import { MAX_BITMAP_BYTES } from '../format/rare-limits.ts'
import type { Image, ImageBitmaps } from '../image/image.ts'
import { LoadBudget, loadContent, rangesOf, storeContent } from './content.ts'
import { giveBack, markInUse, readDirectory, replaceDirectory, type Taken } from './directory.ts'
import type { DirtyBitmap } from './dirty-bitmap.ts'

/** One bitmap of an open image. */
export interface OpenBitmap {
  readonly name: string
  /** Bytes. */
  readonly granularity: number
  enabled: boolean
  /** What it recorded; undefined: it was not saved, and is inconsistent. */
  readonly content: DirtyBitmap | undefined
  /** The directory has it. */
  isStored: boolean
  /** The directory says that it is in use. */
  isMarked: boolean
}

/** How a program may get rid of an inconsistent bitmap: QEMU's words. */
export const HINT = 'Try block-dirty-bitmap-remove to delete this bitmap from disk'

/** The error for an inconsistent bitmap. */
export const inconsistent = (name: string, code: 'EINVAL' | 'ENOTSUP' = 'EINVAL'): BlockError =>
  new BlockError(code, `Bitmap '${name}' is inconsistent and cannot be used`, { hint: HINT })

/**
 * Changes that see to the bitmaps themselves, or change nothing that the guest sees. An image with bitmaps refuses to apply a
 * snapshot, so nothing has changed then.
 */
const SEEN_TO: ReadonlySet<ChangeKind> = new Set(['truncate', 'amend', 'repair', 'applySnapshot'])
const isSeenTo = ({ kind }: Change): boolean => SEEN_TO.has(kind)

/** See the head of this file. */
export class OpenBitmaps implements ImageBitmaps {
  readonly #image: Image
  all: OpenBitmap[]
  /** The enabled bitmaps that are not inconsistent: what a change is recorded in. */
  #recording: DirtyBitmap[] = []
  #marking: Promise<void> | undefined
  /**
   * Saving failed: the file may lead to the new directory, in which nothing is marked, until the header was written again.
   */
  #isUnsure = false
  #endObservation: (() => void) | undefined

  constructor(image: Image, all: OpenBitmap[]) {
    this.#image = image
    this.all = all
    this.watch()
  }

  get isEmpty(): boolean {
    return this.all.length === 0
  }

  /** Called when a bitmap was added, removed, marked, enabled or disabled. */
  watch(): void {
    this.#endObservation?.()
    this.#endObservation = undefined
    const enabled = this.all.filter((bitmap) => bitmap.enabled && !isLost(bitmap))
    if (enabled.length === 0) return
    this.#recording = enabled.flatMap(({ content }) => content ?? [])
    const after = (change: Change): void => {
      if (!isSeenTo(change)) for (const content of this.#recording) content.set(change.offset, change.bytes)
    }
    const before = (change: Change): Promise<void> | undefined =>
      isSeenTo(change) ? undefined : this.mark(enabled)
    const isMarked = !this.#isUnsure && enabled.every(isMarkedOrNew)
    const observer: ChangeObserver = isMarked ? { after } : { before, after }
    this.#endObservation = this.#image.observe(observer)
  }

  /**
   * Marks bitmaps as in use, durably, unless they are, or are not in the file yet.
   *
   * @throws the error of the file: then they are not to be changed
   */
  async mark(bitmaps: readonly OpenBitmap[]): Promise<void> {
    while (this.#marking) await this.#marking.catch(() => undefined)
    const unmarked = bitmaps.filter((bitmap) => !isMarkedOrNew(bitmap))
    if (unmarked.length === 0 && !this.#isUnsure) return
    this.#marking = this.#markInFile(unmarked)
    try {
      await this.#marking
    } finally {
      this.#marking = undefined
    }
    for (const bitmap of unmarked) bitmap.isMarked = true
    this.watch()
  }

  async #markInFile(bitmaps: readonly OpenBitmap[]): Promise<void> {
    const all = this.#isUnsure ? [...bitmaps, ...this.all.filter(({ isMarked }) => isMarked)] : bitmaps
    await this.#image.roots.rewriteUnsure()
    await markInUse(this.#image, new Set(all.map(({ name }) => name)))
    this.#isUnsure = false
  }

  /**
   * Saves what changed in memory: afterwards the file has all bitmaps, and those that are not inconsistent are exact. No
   * request may be in flight. Nothing is written if nothing changed.
   *
   * @throws BlockError that says which bitmaps are lost, in QEMU's words
   */
  async store(): Promise<void> {
    const changed = this.all.filter(({ content, isStored, isMarked }) => content && (!isStored || isMarked))
    if (changed.length === 0) return
    try {
      await this.#store(changed)
    } catch (error) {
      this.#isUnsure = true
      this.watch()
      const { nodeName } = this.#image.settings
      const code = error instanceof BlockError ? error.code : 'EIO'
      throw new BlockError(
        code,
        `Lost persistent bitmaps during inactivation of node '${nodeName}': ${messageOf(error)}`,
        { node: nodeName, cause: error },
      )
    }
    for (const bitmap of changed) Object.assign(bitmap, { isStored: true, isMarked: false })
    this.#isUnsure = false
    this.watch()
  }

  async #store(changed: readonly OpenBitmap[]): Promise<void> {
    const image = this.#image
    const old = await readDirectory(image)
    const taken: Taken = []
    const unlinked: HostRange[] = []
    const budget = new LoadBudget(image)
    const stored = new Map<string, BitmapEntry>()
    try {
      for (const { name, content, enabled } of changed)
        stored.set(name, await storeContent(image, name, content!, enabled ? BitmapFlag.auto : 0, taken))
      for (const entry of old)
        if (stored.has(entry.name)) unlinked.push(...(await rangesOf(image, entry, budget)))
    } catch (error) {
      await giveBack(image, taken)
      throw error
    }
    const kept = old.map((entry) => stored.get(entry.name) ?? entry)
    const names = new Set(old.map(({ name }) => name))
    const added = [...stored.values()].filter(({ name }) => !names.has(name))
    await replaceDirectory(image, [...kept, ...added], taken, unlinked)
  }

  /** Takes a bitmap out of the file, durably, and out of memory. @throws the error of the file */
  async remove(bitmap: OpenBitmap): Promise<void> {
    if (bitmap.isStored) await removeStored(this.#image, bitmap.name)
    this.all = this.all.filter((other) => other !== bitmap)
    this.watch()
  }

  async resizing(size: number): Promise<void> {
    for (const { name, content, granularity } of this.all) {
      if (!content) throw inconsistent(name, 'ENOTSUP')
      if (divUp(size, granularity * 8) > MAX_BITMAP_BYTES)
        throw new BlockError('EFBIG', `Bitmap '${name}' is too big`, { node: this.#image.settings.nodeName })
    }
    await this.mark(this.all)
  }
  resized(): void {
    for (const { content } of this.all) content?.resize(this.#image.size)
  }

  async repaired(): Promise<void> {
    const enabled = this.all.filter((bitmap) => bitmap.enabled)
    await this.mark(enabled)
    for (const { content } of enabled) content?.set(0, this.#image.size)
  }

  end(): void {
    this.#endObservation?.()
    this.#endObservation = undefined
    this.#image.bitmaps = undefined
  }
}

/** Inconsistent, and the file says so: nothing more can happen to it. */
const isLost = ({ content, isMarked }: OpenBitmap): boolean => !content && isMarked
const isMarkedOrNew = ({ isStored, isMarked }: OpenBitmap): boolean => isMarked || !isStored

/** Takes one bitmap out of the file. Its clusters are free afterwards, or leak if its table cannot be read. */
async function removeStored(image: Image, name: string): Promise<void> {
  const entries = await readDirectory(image)
  const gone = entries.find((entry) => entry.name === name)
  if (!gone) return
  const unlinked = await rangesOf(image, gone).catch(() => [])
  await replaceDirectory(
    image,
    entries.filter((entry) => entry !== gone),
    [],
    unlinked,
  )
}

/**
 * Loads the bitmaps of an image that is about to be written. One whose bits cannot be made out is inconsistent (QEMU does
 * not open such an image).
 *
 * @throws BlockError in QEMU's words if the directory is broken; the error of the file
 */
export async function loadBitmaps(image: Image): Promise<OpenBitmaps> {
  const budget = new LoadBudget(image)
  const all = new Map<string, OpenBitmap>()
  for (const entry of await readDirectory(image)) {
    const { name, flags, granularityBits } = entry
    if (all.has(name)) throw new BlockError('EINVAL', `Bitmap already exists: ${name}`)
    const isMarked = (flags & BitmapFlag.inUse) !== 0
    all.set(name, {
      name,
      granularity: 2 ** granularityBits,
      enabled: (flags & BitmapFlag.auto) !== 0,
      content: isMarked ? undefined : await tryLoading(image, entry, budget),
      isStored: true,
      isMarked,
    })
  }
  return new OpenBitmaps(image, [...all.values()])
}

async function tryLoading(
  image: Image,
  entry: BitmapEntry,
  budget: LoadBudget,
): Promise<DirtyBitmap | undefined> {
  try {
    return await loadContent(image, entry, budget)
  } catch (error) {
    if (!isBlockError(error, 'EINVAL') && !isBlockError(error, 'EFBIG')) throw error
    image.events.warn(`warning: ${messageOf(error)}`)
    return undefined
  }
}
