/**
 * Workers that hold an image in a store of the page's origin, by the synchronous handle where there is one,
 * and are terminated in the midst of their requests. Each opens, and so repairs, what its predecessor left.
 */
import { createRandom, type Shown } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { type Plan, stepsOf, wrongIn } from './src/guest-plan.ts'
import type { GuestNews, GuestOrder } from './src/guest-worker.ts'
import { judge } from './src/judge.ts'
import { makeFile, makeImage, STORES } from './src/store.ts'
import { creationOf, SCALE, SEED, TIMEOUT, VARIETIES } from './src/varieties.ts'

/** Workers killed in a row, for each seed. */
const KILLS = 4
/** Requests planned for a worker, which is killed after some of them. */
const REQUESTS = 150

/** Two varieties only: starting a worker takes longer than anything else here. */
const KILLED = VARIETIES.slice(0, 2)

/** Kills a guest after `enough` requests. @returns how many of them are durable, by its last report */
function kill(order: GuestOrder, enough: number): Promise<number> {
  const worker = new Worker(new URL('./src/guest-worker.ts', import.meta.url), { type: 'module' })
  return new Promise<number>((resolve, reject) => {
    let isEnough = false
    worker.addEventListener('message', ({ data }: MessageEvent<GuestNews>) => {
      if ('failed' in data) return reject(new Error(`the guest failed: ${data.failed}`))
      if (isEnough || data.made < enough) return
      isEnough = true
      worker.terminate()
      resolve(data.flushed)
    })
    worker.addEventListener('error', ({ message }) => reject(new Error(`the worker failed: ${message}`)))
    worker.postMessage(order)
  })
}

describe.each(STORES)('qcow2 on $name, in a worker that is killed', (store) => {
  test.each(KILLED)('$name', { timeout: TIMEOUT }, async (variety) => {
    const { name, size, cluster, lazy } = variety
    let kills = 0
    let dirty = 0
    for (let seed = SEED; seed < SEED + SCALE; seed++) {
      const random = createRandom(seed)
      const filename = await makeFile(store)
      await makeImage(store, filename, creationOf(variety))
      let before: Shown = { size, stamps: new Uint32Array(0) }
      for (let i = 0; i < KILLS; i++) {
        const plan: Plan = {
          seed: random.int(0, 2 ** 32),
          size,
          cluster,
          count: REQUESTS,
          stampsFrom: kills * REQUESTS,
        }
        const enough = random.int(1, REQUESTS)
        const flushed = await kill({ store: store.name, filename, plan }, enough)
        const found = await judge({
          store,
          filename,
          lazy,
          story: `seed ${seed}, kill ${i}, after ${enough} requests, of which ${flushed} are durable`,
          wrong: (shown) => wrongIn(shown, before, stepsOf(plan), flushed),
        })
        before = found.shown
        kills++
        if (found.wasDirty) dirty++
      }
    }
    if (lazy) expect(dirty).toBeGreaterThan(0)
    console.log(`counted ${kills} kills: qcow2 on ${store.name}, ${name}; ${dirty} were repaired`)
  })
})
