/** Findings of a check as facts, and what a repair does; each on an image with that damage. */
import type { BlockNode, CheckReport, RepairMode } from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import { describe, expect, it } from 'vitest'
import { createImage, filled, open, peek, poke, sample } from './testing/images.ts'

const BLOCK = 4096
const COUNT = 0x184
const MAP = 512
const NEVER = 0xffff_ffff

/** Blocks 0, 2 and 1 in this order. */
async function patient(): Promise<BlockNode> {
  const file = await createImage({ size: 64 * 1024 })
  const { node } = await open(file)
  for (const block of [0, 2, 1]) await node.write(block * BLOCK, filled(block + 1, BLOCK))
  await node.close()
  expect(await peek(file, MAP, 4)).toEqual([0, 2, 1, NEVER])
  return file
}

async function check(
  file: BlockNode,
  repair?: RepairMode,
): Promise<{ report: Partial<CheckReport>; lines: string[]; findings: FindingList['findings'] }> {
  const { node } = await open(file, { 'check-mode': true, ...(!repair && { readOnly: true }) })
  const list = new FindingList()
  const report = await node.check({ report: (finding) => list.add(finding), ...(repair && { repair }) })
  await node.close()
  const counts = Object.fromEntries(Object.entries(report).filter(([, count]) => count !== 0))
  return { report: counts, lines: list.findings.map(({ message }) => message), findings: list.findings }
}

const shown = async (file: BlockNode): Promise<number[]> => {
  const { node } = await open(file)
  const bytes = await sample(node, BLOCK)
  await node.close()
  return bytes.slice(0, 4)
}

describe('a check', () => {
  it('finds nothing in a sound image, and counts nothing else', async () => {
    expect(await check(await patient())).toEqual({ report: {}, lines: [], findings: [] })
  })

  it('tells of blocks that share a place, and repairs nothing then', async () => {
    const file = await patient()
    await poke(file, MAP + 4, 0)
    await poke(file, COUNT, 9)
    const lines = [
      'ERROR: block index 0 also used by 1',
      'ERROR: allocated blocks mismatch, is 3, should be 9',
    ]
    const found = await check(file)
    expect(found).toMatchObject({ report: { corruptions: 1, leaks: 6 }, lines })
    expect(found.findings[0]).toEqual({
      what: 'shared-cluster',
      kind: 'corruption',
      dataAtRisk: true,
      repaired: false,
      message: lines[0],
      offset: 1024,
      bytes: BLOCK,
      owner: { structure: 'l1-table', offset: MAP, index: 1, guestOffset: BLOCK },
    })
    expect(await check(file, 'all')).toMatchObject({ report: { corruptions: 1, leaks: 6 }, lines })
    expect(await peek(file, COUNT, 1)).toEqual([9])
  })

  it('tells of places outside the disk', async () => {
    const file = await patient()
    await poke(file, MAP + 4, 77)
    expect(await check(file)).toMatchObject({
      report: { corruptions: 1, leaks: 1 },
      lines: ['ERROR: block index 1 too large, is 77', 'ERROR: allocated blocks mismatch, is 2, should be 3'],
    })
  })

  it('tells of a map that a write could reach', async () => {
    const file = await patient()
    await poke(file, 0x154, 1024)
    const { report, lines } = await check(file)
    expect(report.corruptions).toBeGreaterThan(0)
    expect(lines[0]).toBe(
      'ERROR: the block map from 1024 to 1088 is not between the header and the data at 1024',
    )
    expect(await check(file, 'all')).toMatchObject({ report })
  })

  it.each(['leaks', 'all'] as const)('repairs a count that is too large, with %s', async (repair) => {
    const file = await patient()
    await poke(file, COUNT, 5)
    const is = 'allocated blocks mismatch, is 3, should be 5'
    expect(await check(file)).toMatchObject({ report: { leaks: 2 }, lines: [`ERROR: ${is}`] })
    expect(await check(file, repair)).toMatchObject({ report: { leaksFixed: 2 }, lines: [`Repairing ${is}`] })
    expect(await peek(file, COUNT, 1)).toEqual([3])
    expect(await check(file)).toMatchObject({ report: {} })
    expect(await shown(file)).toEqual([1, 2, 3, 0])
  })

  it('repairs a count that is too small, but not as a leak', async () => {
    const file = await patient()
    await poke(file, COUNT, 1)
    const is = 'allocated blocks mismatch, is 3, should be 1'
    expect(await check(file, 'leaks')).toMatchObject({ report: { corruptions: 1 }, lines: [`ERROR: ${is}`] })
    expect(await check(file, 'all')).toMatchObject({
      report: { corruptionsFixed: 1 },
      lines: [`Repairing ${is}`],
    })
    expect(await peek(file, COUNT, 1)).toEqual([3])
  })

  it('finds blocks behind those that are counted, where QEMU would put the next one, and moves them', async () => {
    const file = await patient()
    await file.write(1024 + 5 * BLOCK, filled(2, BLOCK))
    await poke(file, MAP + 4, 5)
    expect(await check(file)).toMatchObject({
      report: { corruptions: 1 },
      lines: ['ERROR: 3 blocks are allocated, and they reach up to index 5'],
    })
    expect(await check(file, 'all')).toMatchObject({ report: { corruptionsFixed: 1 } })
    expect(await peek(file, MAP, 4)).toEqual([0, 2, 1, NEVER])
    expect(await peek(file, COUNT, 1)).toEqual([3])
    expect(file.size).toBe(1024 + 3 * BLOCK)
    expect(await shown(file)).toEqual([1, 2, 3, 0])
  })
})
