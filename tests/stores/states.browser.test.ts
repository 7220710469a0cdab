/**
 * Images in the stores of a page, in states that a power cut may leave of their files: whole requests lost, reordered, or
 * torn at sectors. The states are made in memory, from a log of the image's writes; some of them are put into
 * the store.
 */
import { formatImage, openNode, WriteLog } from '@vmblock/block-core'
import {
  CrashDisk,
  CrashGuest,
  type CrashScene,
  type CrashState,
  crashStates,
  createRandom,
  type Random,
  randomRequests,
} from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { describe, expect, test } from 'vitest'
import { judge } from './src/judge.ts'
import { environment, makeFile, openFile, STORES, type Store } from './src/store.ts'
import { creationOf, SCALE, SEED, TIMEOUT, VARIETIES, type Variety } from './src/varieties.ts'

/** States that are put into the store, for each seed. */
const STATES = 5
/** Bytes that are copied at once. */
const PIECE = 65536

/** Runs a guest on an image in memory. @returns what it knows, and a fair choice of the states */
async function statesOf(
  variety: Variety,
  random: Random,
): Promise<{ readonly guest: CrashGuest; readonly states: readonly CrashState[] }> {
  const disk = new CrashDisk()
  await formatImage(qcow2, disk.node(), creationOf(variety))
  const bases = new Map([['disk', disk.fork()]])
  const log = new WriteLog()
  const node = await openNode(environment, {
    driver: 'qcow2',
    discard: 'unmap',
    file: { driver: 'write-log', log, disk: 'disk', file: disk.node() },
  })
  const guest = new CrashGuest(node, log)
  const scene = { random, guest, node } as unknown as CrashScene
  await randomRequests(scene, { cluster: node.limits.discardAlignment })
  await node.crash()
  const states: CrashState[] = []
  let count = 0
  for (const state of crashStates(bases, log, { random, moments: 16, disksPerMoment: 8 })) {
    const slot = count++ < STATES ? count - 1 : random.int(0, count)
    if (slot < STATES) states[slot] = state
  }
  return { guest, states }
}

/** Writes a disk to a file of a store, replacing its contents. */
async function put(store: Store, filename: string, disk: CrashDisk): Promise<void> {
  const node = await openFile(store, filename)
  await node.truncate(0)
  for (let at = 0; at < disk.size; at += PIECE) {
    const piece = new Uint8Array(Math.min(PIECE, disk.size - at))
    disk.read(at, piece)
    if (piece.some((byte) => byte !== 0)) await node.write(at, piece)
  }
  await node.truncate(disk.size)
  await node.close()
}

describe.each(STORES)('qcow2 on $name, as a power cut left it', (store) => {
  test.each(VARIETIES)('$name', { timeout: TIMEOUT }, async (variety) => {
    const { name, lazy } = variety
    let count = 0
    let dirty = 0
    for (let seed = SEED; seed < SEED + SCALE; seed++) {
      const { guest, states } = await statesOf(variety, createRandom(seed))
      const filename = await makeFile(store)
      for (const { moment, disks, story } of states) {
        await put(store, filename, disks.get('disk')!)
        const { wasDirty } = await judge({
          store,
          filename,
          lazy,
          story: `seed ${seed}, moment ${moment}: ${story()}`,
          wrong: (shown) => guest.compare(shown, moment),
        })
        count++
        if (wasDirty) dirty++
      }
    }
    if (lazy) expect(dirty).toBeGreaterThan(0)
    console.log(`counted ${count} states: qcow2 on ${store.name}, ${name}; ${dirty} were repaired`)
  })
})
