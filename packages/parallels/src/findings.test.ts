/** Findings of a check as facts, and what a repair does; each on an image with that damage. */
import type { BlockNode, CheckReport, RepairMode } from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import { describe, expect, it } from 'vitest'
import { BAT, createImage, FIELD, filled, IN_USE, open, peek, poke, sample } from './testing/images.ts'

const CLUSTER = 4096

/** Clusters 0, 2 and 1 in this order. */
async function patient(): Promise<BlockNode> {
  const file = await createImage({ size: 64 * 1024, cluster_size: CLUSTER })
  const { node } = await open(file)
  for (const cluster of [0, 2, 1]) await node.write(cluster * CLUSTER, filled(cluster + 1, CLUSTER))
  await node.close()
  expect(await peek(file, BAT, 4)).toEqual([1, 3, 2, 0])
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
  return { report, lines: list.findings.map(({ message }) => message), findings: list.findings }
}

const shown = async (file: BlockNode): Promise<number[]> => {
  const { node } = await open(file, { readOnly: true })
  const bytes = await sample(node, CLUSTER)
  await node.close()
  return bytes.slice(0, 4)
}

const SOUND = { corruptions: 0, leaks: 0, checkErrors: 0 }

describe('a check', () => {
  it('counts clusters as QEMU does', async () => {
    expect(await check(await patient())).toEqual({
      report: {
        ...SOUND,
        corruptionsFixed: 0,
        leaksFixed: 0,
        imageEndOffset: 4 * CLUSTER,
        totalClusters: 16,
        allocatedClusters: 3,
        fragmentedClusters: 2,
        compressedClusters: 0,
      },
      lines: [],
      findings: [],
    })
  })

  it('repairs an image that was not closed, with all', async () => {
    const file = await patient()
    await poke(file, FIELD.inUse, IN_USE)
    expect(await check(file)).toMatchObject({
      report: { corruptions: 1 },
      lines: ['ERROR image was not closed correctly'],
      findings: [{ what: 'not-closed', kind: 'corruption', dataAtRisk: false }],
    })
    expect(await check(file, 'leaks')).toMatchObject({ report: { corruptions: 1 } })
    expect(await peek(file, FIELD.inUse, 1)).toEqual([IN_USE])
    expect(await check(file, 'all')).toMatchObject({
      report: { corruptions: 0, corruptionsFixed: 1 },
      lines: ['Repairing image was not closed correctly'],
    })
    expect(await peek(file, FIELD.inUse, 1)).toEqual([0])
    expect(await check(file)).toMatchObject({ report: SOUND })
  })

  it('clears entries that point outside the file, which stays as long as it is', async () => {
    const file = await patient()
    // QEMU takes the end of the file for the inside.
    for (const [entry, at] of [
      [100, 5],
      [4, 7],
    ] as const)
      await poke(file, BAT + at * 4, entry)
    const found = await check(file)
    expect(found).toMatchObject({
      report: { corruptions: 2, leaks: 0, imageEndOffset: 4 * CLUSTER, allocatedClusters: 3 },
      lines: ['ERROR cluster 5 is outside image', 'ERROR cluster 7 is outside image'],
    })
    expect(found.findings[0]).toEqual({
      what: 'reference-outside-file',
      kind: 'corruption',
      dataAtRisk: true,
      repaired: false,
      message: 'ERROR cluster 5 is outside image',
      offset: 100 * CLUSTER,
      bytes: CLUSTER,
      owner: { structure: 'l1-table', offset: BAT, index: 5, guestOffset: 5 * CLUSTER },
    })
    expect(await check(file, 'all')).toMatchObject({ report: { corruptions: 0, corruptionsFixed: 2 } })
    expect(await peek(file, BAT, 8)).toEqual([1, 3, 2, 0, 0, 0, 0, 0])
    expect(file.size).toBe(4 * CLUSTER)
    expect(await shown(file)).toEqual([1, 2, 3, 0])
  })

  it('cuts off what is behind the data', async () => {
    const file = await patient()
    await file.truncate(7 * CLUSTER - 100)
    const is = `space leaked at the end of the image ${3 * CLUSTER}`
    expect(await check(file)).toMatchObject({ report: { leaks: 3 }, lines: [`ERROR ${is}`] })
    expect(await check(file, 'leaks')).toMatchObject({
      report: { leaks: 0, leaksFixed: 3 },
      lines: [`Repairing ${is}`],
    })
    expect(file.size).toBe(4 * CLUSTER)
  })

  it('takes no BAT of several clusters for a leak', async () => {
    const file = await createImage({ size: 2 ** 20, cluster_size: 512 })
    expect(file.size).toBe(17 * 512)
    expect(await check(file, 'all')).toMatchObject({ report: { ...SOUND, leaksFixed: 0 } })
    expect(file.size).toBe(17 * 512)
  })

  it.each<[string, [number, number][], string, string]>([
    ['one place', [[BAT + 8, 1]], 'shared-cluster', 'ERROR cluster 2 overlaps with cluster 0'],
    [
      'the header',
      [[FIELD.dataStart, 16]],
      'reference-into-header',
      'ERROR cluster 0 is in front of the data',
    ],
  ])('finds clusters in %s, and does not call the image closed then', async (_, fields, what, line) => {
    const file = await patient()
    await poke(file, FIELD.inUse, IN_USE)
    for (const [offset, value] of fields) await poke(file, offset, value)
    const lines = ['ERROR image was not closed correctly', line]
    for (const repair of [undefined, 'all'] as const)
      expect(await check(file, repair)).toMatchObject({
        report: { corruptions: 2, corruptionsFixed: 0 },
        lines,
        findings: [{}, { what, dataAtRisk: true }],
      })
    expect(await peek(file, FIELD.inUse, 1)).toEqual([IN_USE])
  })
})
