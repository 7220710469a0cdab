/** What must hold of an image in a store after every crash, as seen through the driver of the store. */
import type { BlockNode, CheckReport } from '@vmblock/block-core'
import { readShown, type Shown } from '@vmblock/block-core/testing'
import { expect } from 'vitest'
import { openImage, type Store } from './store.ts'

/** The state of a crashed image. */
export interface Found {
  /** What the disk shows now. */
  readonly shown: Shown
  /** Whether the image was marked as needing repair. */
  readonly wasDirty: boolean
}

/** A crashed image to judge. */
export interface Case {
  readonly store: Store
  readonly filename: string
  /** Whether the dirty bit may be set. */
  readonly lazy: boolean
  /** Returns what is wrong with the disk's contents; undefined: nothing. */
  wrong(shown: Shown): string | undefined
  /** Seed and moment, for messages. */
  readonly story: string
}

/**
 * Judges a crashed image, repairs it, and leaves it clean and closed. The image opens for reading, shows what
 * is durable, and leaks at most, unless it is marked dirty; opening it for writing repairs it without
 * changing its contents; then it takes a write, closes, and nothing is left to repair.
 */
export async function judge({ store, filename, lazy, wrong, story }: Case): Promise<Found> {
  const open = (options = {}): Promise<BlockNode> => openImage(store, filename, options)
  const reader = await open({ readOnly: true })
  const wasDirty = (await reader.info()).dirty === true
  const report = await reader.check()
  const shown = await readShown(reader)
  await reader.close()
  expect(wrong(shown), `${story}: what it shows`).toBeUndefined()
  if (!wasDirty) expect(damageOf(report), `${story}: damage in an image that is not dirty`).toBe(0)
  if (!lazy) expect(wasDirty, `${story}: dirty`).toBe(false)

  const writer = await open()
  expect(await readShown(writer), `${story}: what it shows when it is repaired`).toEqual(shown)
  const last = new Uint8Array(512)
  await writer.read(shown.size - 512, last)
  await writer.write(shown.size - 512, last)
  await writer.close()

  const checked = await open({ checkMode: true })
  expect((await checked.info()).dirty, `${story}: dirty after a repair`).toBe(false)
  const after = await checked.check({ repair: 'leaks' })
  expect(damageOf(after), `${story}: damage after a repair`).toBe(0)
  if (wasDirty) expect(after.leaksFixed, `${story}: leaks after a repair`).toBe(0)
  const left = await checked.check()
  expect(damageOf(left) + left.leaks, `${story}: what nothing repairs`).toBe(0)
  await checked.close()
  return { shown, wasDirty }
}

const damageOf = ({ corruptions, corruptionsFixed, checkErrors }: CheckReport): number =>
  corruptions + corruptionsFixed + checkErrors
