/**
 * Requests to the file that are carried out but reported as failed: the state of the disk is then unknown. In
 * either case, data that was flushed afterwards is kept, and no pointer on the disk leads to a cluster that
 * has a new owner.
 */
import { BlockError, type BlockNode, openNode, reopenNode } from '@vmblock/block-core'
import { defineDriver, forwardOps } from '@vmblock/block-core/driver'
import { openTestNode, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createImage, environment, filled, findings, open, SAFE } from '../testing/images.ts'

const CLUSTER = 512
const SIZE = 128 * 1024
/** A size for which the L1 table has to grow. */
const LARGE = 2 ** 21 + 2 ** 17

/** The number of the request, counted from 1, that is carried out and fails; 0: none. */
interface Fault {
  at: number
  count: number
}

async function over(file: BlockNode, fault: Fault): Promise<BlockNode> {
  const late = async (request: Promise<void>): Promise<void> => {
    await request
    if (++fault.count === fault.at) throw new BlockError('EIO', 'injected')
  }
  const driver = defineDriver({
    name: 'late',
    kind: 'filter',
    async open(context) {
      const plain = forwardOps(await context.requireChild('file'))
      return {
        ...plain,
        read: (offset, into) => late(plain.read(offset, into)),
        write: (offset, from, flags) => late(plain.write!(offset, from, flags)),
        writeZeroes: (offset, bytes, flags) => late(plain.writeZeroes!(offset, bytes, flags)),
        truncate: (size, options) => late(plain.truncate!(size, options)),
        flush: () => late(plain.flush!()),
      }
    },
  })
  return openTestNode(driver, { children: { file } })
}

/** A disk and its expected content; -1 where a request failed. */
class Guest {
  readonly node: BlockNode
  expected: Int16Array = new Int16Array(LARGE)

  constructor(node: BlockNode) {
    this.node = node
  }

  async write(offset: number, bytes: number, value: number): Promise<void> {
    const written = await succeeds(this.node.write(offset, filled(value, bytes)))
    this.expected.fill(written ? value : -1, offset, offset + bytes)
  }

  async requireContent(node: BlockNode): Promise<void> {
    const content = await toBytes(node)
    const wrong = content.findIndex((byte, at) => this.expected[at] !== -1 && this.expected[at] !== byte)
    expect(wrong).toBe(-1)
  }
}

const succeeds = (request: Promise<unknown>): Promise<boolean> =>
  request.then(
    () => true,
    () => false,
  )

/** Operations during which a request fails; errors are ignored. */
const SCENARIOS: Readonly<Record<string, (guest: Guest) => Promise<unknown>>> = {
  'new tables': async (guest) => {
    for (let at = 0; at < SIZE; at += 50_000) await guest.write(at - (at % CLUSTER), 3 * CLUSTER, 5)
    await succeeds(guest.node.flush())
  },
  'a larger L1 table': (guest) => succeeds(guest.node.truncate(LARGE)),
  'a smaller disk': async (guest) => {
    if (await succeeds(guest.node.truncate(SIZE / 2))) guest.expected = guest.expected.slice(0, SIZE / 2)
    // Any state between unchanged and removed.
    else guest.expected.fill(-1, SIZE / 2, SIZE)
  },
  'a clean reopening': async (guest) => {
    await guest.write(0, CLUSTER, 6)
    await succeeds(reopenNode(guest.node, { options: { 'lazy-refcounts': false } }))
  },
}

/** Continues with writes that need clusters: where tables exist, or also where they have to be created. */
async function goOn(guest: Guest, everywhere: boolean): Promise<void> {
  for (let at = 20 * CLUSTER; at < 60 * CLUSTER; at += CLUSTER) await guest.write(at, CLUSTER, 9)
  if (!everywhere) return
  for (let at = 64 * CLUSTER; at + 5 * CLUSTER <= guest.node.size; at += 129 * CLUSTER)
    await guest.write(at, 5 * CLUSTER, 9)
}

describe.each(['off', 'on'])('lazy refcounts %s', (lazy) => {
  const cases = Object.keys(SCENARIOS).flatMap((name) => [[name, true] as const, [name, false] as const])
  test.each(cases)('%s, going on everywhere: %s', async (name, everywhere) => {
    for (let at = 1; ; at++) {
      const file = await createImage({
        size: SIZE,
        cluster_size: CLUSTER,
        refcount_bits: 64,
        lazy_refcounts: lazy,
      })
      const fault: Fault = { at: 0, count: 0 }
      const node = await open(await over(file, fault))
      const guest = new Guest(node)
      await guest.write(0, 20 * CLUSTER, 4)
      await guest.write(SIZE - CLUSTER, CLUSTER, 4)
      Object.assign(fault, { at, count: 0 })
      await SCENARIOS[name]!(guest)
      const met = fault.count >= at
      fault.at = 0
      await goOn(guest, everywhere)
      const where = `request ${at}`
      await guest.requireContent(node)
      await node.flush()
      const { size } = node
      await node.crash()
      // Only a dirty bit allows refcounts to lag.
      const wasSafe = (await findings(file)).corruptions === 0
      const again = await openNode(environment, { driver: 'qcow2', file })
      expect(wasSafe || lazy === 'on', where).toBe(true)
      expect(again.size, where).toBe(size)
      await guest.requireContent(again)
      await again.write(0, filled(7, again.size))
      await again.close()
      expect(await findings(file), where).toMatchObject(SAFE)
      if (!met) return
    }
  })
})
