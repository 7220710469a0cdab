/** Findings of a check as facts: what, where, whose, and whether it is repaired; each on an image with that damage. */
import {
  type BlockNode,
  blkdebug,
  type CheckFinding,
  DriverRegistry,
  denyHost,
  openNode,
  type RepairMode,
} from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import { describe, expect, it } from 'vitest'
import { createImage, filled, open } from './testing/images.ts'

const CLUSTER = 4096
const OPTIONS = { cluster_size: CLUSTER, table_size: 1, size: 16 * 2 ** 20 }
/** Host offsets of an image of four clusters, in bytes. */
const L1 = CLUSTER
const L2 = 2 * CLUSTER
const DATA = 3 * CLUSTER
const END = 7 * CLUSTER

const DANGER = { kind: 'corruption', dataAtRisk: true, repaired: false, silent: true } as const
const FAILURE = { kind: 'failure', repaired: false, silent: true } as const

const environment = { registry: new DriverRegistry([blkdebug]), host: denyHost }

async function poke(file: BlockNode, offset: number, entry: bigint): Promise<void> {
  const word = new DataView(new ArrayBuffer(8))
  word.setBigUint64(0, entry, true)
  await file.write(offset, new Uint8Array(word.buffer))
}

async function patient(): Promise<BlockNode> {
  const file = await createImage(OPTIONS)
  const { node } = await open(file)
  await node.write(0, filled(1, 4 * CLUSTER))
  await node.close()
  expect(file.size).toBe(END)
  return file
}

const entryOf = (index: number) => ({
  structure: 'l2-table',
  offset: L2,
  index,
  guestOffset: index * CLUSTER,
})

async function check(file: BlockNode, repair?: RepairMode): Promise<readonly CheckFinding[]> {
  const { node } = await open(file, { 'check-mode': true })
  const list = new FindingList()
  await node.check({ report: (finding) => list.add(finding), ...(repair && { repair }) })
  await node.close()
  return list.findings
}

const leak = (first: number, end = first + 1) => ({
  what: 'leaked-cluster',
  kind: 'leak',
  dataAtRisk: false,
  repaired: false,
  silent: true,
  offset: first * CLUSTER,
  bytes: (end - first) * CLUSTER,
  message: `Leaked clusters ${first} to ${end - 1}`,
})

describe('a finding', () => {
  it.each([
    ['reference-outside-file', 1000 * CLUSTER],
    ['reference-into-header', CLUSTER / 2],
    ['unaligned-cluster', DATA + 512],
  ] as const)('%s of a data cluster', async (what, offset) => {
    const file = await patient()
    await poke(file, L2 + 8, BigInt(offset))
    const finding = { what, ...DANGER, offset, bytes: CLUSTER, owner: entryOf(1) }
    const text = `L2 table entry 1: ${what.replaceAll('-', ' ')}`
    expect(await check(file)).toEqual([{ ...finding, message: `ERROR ${text}` }, leak(4)])
    expect(await check(file, 'all')).toEqual([
      { ...finding, repaired: true, message: `Repairing ${text}` },
      leak(4),
    ])
    expect(await check(file)).toEqual([leak(4)])
  })

  it('of an offset beyond 2^53-1 has none', async () => {
    const file = await patient()
    await poke(file, L2 + 8, 2n ** 63n)
    expect((await check(file))[0]).toEqual({
      what: 'reference-outside-file',
      ...DANGER,
      owner: entryOf(1),
      message: 'ERROR L2 table entry 1: reference outside file',
    })
  })

  it('in a later table counts from the beginning of the disk', async () => {
    const file = await patient()
    const far = (CLUSTER / 8) * CLUSTER
    const { node } = await open(file)
    await node.write(far, filled(1, CLUSTER))
    await node.close()
    const word = new Uint8Array(8)
    await file.read(L1 + 8, word)
    const offset = new DataView(word.buffer).getUint32(0, true)
    await poke(file, offset + 8, BigInt(1000 * CLUSTER))
    const owner = { structure: 'l2-table', offset, index: 1, guestOffset: far + CLUSTER }
    expect(await check(file)).toMatchObject([{ what: 'reference-outside-file', owner }])
  })

  it('unaligned-table of an L2 table, and every run of leaked clusters', async () => {
    const file = await patient()
    await poke(file, L1 + 8, BigInt(L2 + 512))
    await poke(file, L2 + 8, 0n)
    await poke(file, L2 + 24, 0n)
    expect(await check(file)).toEqual([
      {
        what: 'unaligned-table',
        ...DANGER,
        offset: L2 + 512,
        bytes: CLUSTER,
        owner: { structure: 'l1-table', offset: L1, index: 1, guestOffset: (CLUSTER / 8) * CLUSTER },
        message: 'ERROR L1 table entry 1: unaligned table',
      },
      leak(4),
      leak(6),
    ])
    await poke(file, L2 + 16, 0n)
    expect((await check(file)).slice(1)).toEqual([leak(4, 7)])
  })

  it('shared-cluster, which is not repaired', async () => {
    const file = await patient()
    await poke(file, L2 + 8, BigInt(DATA))
    const findings = [
      {
        what: 'shared-cluster',
        ...DANGER,
        offset: DATA,
        bytes: CLUSTER,
        owner: entryOf(1),
        message: `ERROR cluster ${DATA / CLUSTER} is referred to more than once`,
      },
      leak(4),
    ]
    expect(await check(file)).toEqual(findings)
    expect(await check(file, 'all')).toEqual(findings)
  })

  it('unreadable-table', async () => {
    const broken = await openNode(environment, {
      driver: 'blkdebug',
      image: await patient(),
      injectError: [{ event: 'none', iotype: 'read', errno: 5, sector: L2 / 512 }],
    })
    expect(await check(broken)).toEqual([
      {
        what: 'unreadable-table',
        ...FAILURE,
        dataAtRisk: true,
        offset: L2,
        owner: { structure: 'l2-table', offset: L2 },
        message: 'ERROR Could not read L2 table',
      },
    ])
  })

  it('repair-failed, and then nothing of that table is repaired', async () => {
    const file = await patient()
    await poke(file, L2 + 8, BigInt(1000 * CLUSTER))
    const broken = await openNode(environment, {
      driver: 'blkdebug',
      image: file,
      injectError: [{ event: 'none', iotype: 'write', errno: 5, sector: L2 / 512 }],
    })
    expect(await check(broken, 'all')).toMatchObject([
      { what: 'repair-failed', ...FAILURE, dataAtRisk: false, offset: L2 },
      { what: 'reference-outside-file', repaired: false },
    ])
  })
})
