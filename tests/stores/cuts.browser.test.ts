/**
 * Images in the stores of a page that vanishes at any request to them: a request that the store has not
 * answered may or may not have taken effect. Crashes follow one another in the same file.
 */
import { type BlockNode, WriteLog } from '@vmblock/block-core'
import {
  CrashGuest,
  type CrashScene,
  createRandom,
  randomRequests,
  type Shown,
  Stamps,
} from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { judge } from './src/judge.ts'
import { makeFile, makeImage, openImage, STORES } from './src/store.ts'
import { creationOf, SCALE, SEED, TIMEOUT, VARIETIES } from './src/varieties.ts'

/** Crashes in a row, for each seed. */
const CRASHES = 6
/** Requests to the store, one of which is the last. Most runs make more. */
const REQUESTS = 80

describe.each(STORES)('qcow2 on $name, cut off at a request', (store) => {
  test.each(VARIETIES)('$name', { timeout: TIMEOUT }, async (variety) => {
    const { name, lazy } = variety
    let crashes = 0
    let dirty = 0
    for (let seed = SEED; seed < SEED + SCALE; seed++) {
      const random = createRandom(seed)
      const filename = await makeFile(store)
      await makeImage(store, filename, creationOf(variety))
      const stamps = new Stamps()
      let before: Shown | undefined
      for (let i = 0; i < CRASHES; i++) {
        const log = new WriteLog()
        const cutAt = random.int(1, REQUESTS)
        let requests = 0
        let crash: { readonly moment: number; readonly over: Promise<void> } | undefined
        let node: BlockNode | undefined
        const cut = (): void => {
          crash ??= { moment: log.tick(), over: node!.crash() }
        }
        node = await openImage(store, filename, {}, () => {
          // The requests of an open come before there is a node to crash.
          if (node && ++requests === cutAt) cut()
        })
        const guest = new CrashGuest(node, log, { before, stamps })
        const scene = { random, guest, node } as unknown as CrashScene
        await randomRequests(scene, { cluster: node.limits.discardAlignment }).catch((error: unknown) => {
          if (!crash) throw error
        })
        cut()
        const { moment, over } = crash!
        await over
        const story = `seed ${seed}, crash ${i}, request ${cutAt}`
        const found = await judge({
          store,
          filename,
          lazy,
          story,
          wrong: (shown) => guest.compare(shown, moment),
        })
        before = found.shown
        crashes++
        if (found.wasDirty) dirty++
      }
    }
    if (lazy) expect(dirty).toBeGreaterThan(0)
    console.log(`counted ${crashes} crashes: qcow2 on ${store.name}, ${name}; ${dirty} were repaired`)
  })
})
