/**
 * A check of an image in memory lets the event loop turn, however many findings it reports. Each look at the
 * clock takes 1 ms.
 */
import { BlockError, DriverRegistry, denyHost, formatImage, memory, openNode } from '@vmblock/block-core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { qcow2 } from '../index.ts'

const environment = { registry: new DriverRegistry([memory, qcow2]), host: denyHost }

let time = performance.now()
beforeAll(() => void vi.spyOn(performance, 'now').mockImplementation(() => (time += 1)))
afterAll(() => void vi.restoreAllMocks())

const CLUSTERS = 32_768

/** Offset of the header field for the active L1 table, in bytes. */
const L1_OFFSET = 40

async function image() {
  const file = await openNode(environment, { driver: 'memory' })
  await formatImage(qcow2, file, { size: CLUSTERS * 512, clusterSize: 512, preallocation: 'metadata' })
  return file
}

/** The most findings reported between two turns of the event loop. */
async function most(file: Awaited<ReturnType<typeof image>>, repair: 'all' | undefined) {
  let told = 0
  let worst = 0
  let before = 0
  let going = true
  const turn = (): void => {
    worst = Math.max(worst, told - before)
    before = told
    if (going) setImmediate(turn)
  }
  const node = await openNode(environment, { driver: 'qcow2', file, checkMode: true })
  setImmediate(turn)
  const report = await node
    .check({ ...(repair && { repair }), report: () => told++ })
    .catch((error: unknown) => {
      if (!(error instanceof BlockError)) throw error
    })
  turn()
  going = false
  await node.close()
  return { told, worst, report }
}

/** The findings of 13 looks at the clock, 64 each. A turn is due after ten; the rest is slack. */
const BOUND = 13 * 64

describe('a check', () => {
  it.each([undefined, 'all'] as const)('of leaks alone, repair: %s', async (repair) => {
    const file = await image()
    const head = new Uint8Array(512)
    await file.read(0, head)
    const l1 = Number(new DataView(head.buffer).getBigUint64(L1_OFFSET))
    await file.write(l1, new Uint8Array((CLUSTERS / 64 / 64) * 512))
    const { told, worst } = await most(file, repair)
    expect(told).toBeGreaterThan(CLUSTERS / 2)
    expect(worst).toBeLessThanOrEqual(BOUND)
    await file.close()
  })

  it('of entries that are all broken', async () => {
    const file = await image()
    const bytes = new Uint8Array(file.size)
    await file.read(0, bytes)
    const view = new DataView(bytes.buffer)
    const l1 = Number(view.getBigUint64(L1_OFFSET))
    for (let i = 0; i < CLUSTERS / 64; i++) {
      const table = view.getUint32(l1 + i * 8 + 4)
      // Sets reserved bits.
      for (let at = 0; at < 512; at += 8) view.setUint8(table + at + 7, 0x3e)
    }
    await file.write(0, bytes)
    const { told, worst } = await most(file, undefined)
    expect(told).toBeGreaterThan(CLUSTERS / 2)
    expect(worst).toBeLessThanOrEqual(BOUND)
    await file.close()
  })
})
