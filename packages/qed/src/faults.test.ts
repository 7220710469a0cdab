/** Errors at every announced step: no data of a successful request is lost, and the image stays sound. */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { DEBUG_EVENTS, type DebugEvent } from '@vmblock/block-core/driver'
import {
  createRandom,
  type FaultScenario,
  faultsAt,
  openTestNode,
  runWithFault,
  toBytes,
} from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { createQedDriver } from './driver.ts'
import { createImage, TestClock } from './testing/images.ts'

/** A scenario, and the steps that it must reach. */
interface Steps {
  readonly name: string
  readonly events: readonly DebugEvent[]
  scenario(): FaultScenario
}

const KIB = 1024
const CLUSTER = 4 * KIB
const SIZE = 128 * KIB
/** Written and flushed before the errors begin. */
const SAFE_AREA = 16 * KIB

const pattern = (bytes: number, seed: number): Uint8Array => createRandom(seed).bytes(bytes)

const openOver = (file: BlockNode, backing: BlockNode | undefined, clock = new TestClock()) =>
  openTestNode(createQedDriver({ clock }), { children: { file, ...(backing && { backing }) } })

/** An image without a backing file is dirty while it is written to; others are sound without a repair. */
const verify = async (file: BlockNode, afterCrash: boolean): Promise<void> => {
  const node = await openTestNode(createQedDriver({ clock: new TestClock() }), {
    children: { file },
    config: { readOnly: true },
  })
  const { corruptions, checkErrors } = await node.check()
  const { dirty } = await node.info()
  await node.close()
  if (dirty && !afterCrash) throw new Error('the image is dirty')
  if (!dirty && corruptions + checkErrors > 0) throw new Error(`${corruptions} corruptions`)
}

function guestOn(overlay: boolean, debugOptions = {}): FaultScenario {
  const below = overlay ? openMemory(pattern(SIZE, 3), { readOnly: true }) : undefined
  let clock = new TestClock()
  return {
    verify,
    debugOptions,
    open(file) {
      clock = new TestClock()
      return openOver(file, below, clock)
    },
    async make() {
      const file = await createImage({ size: SIZE, cluster_size: CLUSTER, table_size: 1 })
      const node = await openOver(file, below)
      await node.write(0, pattern(SAFE_AREA, 4))
      const content = await toBytes(node)
      await node.close()
      return { file, content, safe: SAFE_AREA }
    },
    async run(guest) {
      for (let round = 0; round < 2; round++) {
        for (let at = SAFE_AREA; at < SIZE - 16 * KIB; at += 14_000) {
          await guest.write(at, 5000, at + round)
          await guest.read(at, 6000)
        }
        await guest.flush()
        await guest.zero(SAFE_AREA + 2 * CLUSTER, 2 * CLUSTER, round === 0)
        await guest.zero(SIZE - 2 * CLUSTER, CLUSTER, false)
        await guest.read(0, SIZE)
        // Five seconds without an allocation: the image is marked clean.
        clock.elapse()
        await guest.flush()
      }
      // An offset without an L2 table.
      await guest.resize(2 ** 21 + SIZE)
      await guest.write(2 ** 21 + 100, 1000, 5)
      await guest.flush()
    },
  }
}

/** Copies that are too long to be written together with the data. */
function largeCopies(): FaultScenario {
  const size = 2 * KIB * KIB
  const content = new Uint8Array(size).fill(3)
  const below = openMemory(content, { readOnly: true })
  return {
    verify,
    open: (file) => openOver(file, below),
    async make() {
      return {
        file: await createImage({ size, cluster_size: size, table_size: 1 }),
        content,
        safe: 0,
      }
    },
    async run(guest) {
      await guest.write(size / 2, 1000, 1)
    },
  }
}

/** The scenarios, which together contain every announced step. */
const STEPS: readonly Steps[] = [
  {
    name: 'a guest',
    scenario: () => guestOn(false),
    events: [
      'l1_update',
      'l2_load',
      'l2_update',
      'read_aio',
      'write_aio',
      'flush_to_disk',
      'pwritev',
      'pwritev_zero',
      'pwritev_done',
    ],
  },
  {
    name: 'a guest on an overlay',
    scenario: () => guestOn(true),
    events: ['l1_update', 'l2_update', 'read_backing_aio', 'cow_read', 'write_aio', 'flush_to_disk'],
  },
  { name: 'long copies', scenario: largeCopies, events: ['cow_write'] },
  {
    name: 'a file of blocks',
    scenario: () => guestOn(false, { align: 8192 }),
    events: ['pwritev_rmw_head', 'pwritev_rmw_after_head', 'pwritev_rmw_tail', 'pwritev_rmw_after_tail'],
  },
]

/** Steps of drivers with refcounts, compression, subclusters or VM state; and of a filter. */
const NOT_HERE =
  /^(l1_(grow|shrink)|l2_(alloc|update_)|ref|cluster_|vmstate|empty|(read|write)_compressed|flush_to_os|cor_|none)/

describe.each(STEPS)('an error under $name', ({ scenario, events }) => {
  it.each(events)('at %s', async (event) => {
    for (const fault of faultsAt(event)) {
      const what = `${fault.errno}, ${fault.lasts}`
      const met = await runWithFault(scenario(), fault).catch((error: unknown) => {
        throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
      })
      expect(met, `${what}: reached`).toBe(true)
    }
  })
})

it('tries every step, or there is a reason', () => {
  const tried = new Set<DebugEvent>(STEPS.flatMap(({ events }) => events))
  expect(DEBUG_EVENTS.filter((event) => !tried.has(event))).toEqual(
    DEBUG_EVENTS.filter((event) => NOT_HERE.test(event)),
  )
})
