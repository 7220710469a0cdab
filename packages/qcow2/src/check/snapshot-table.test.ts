/**
 * Repairs of the snapshot table keep all that can be kept, whenever the power fails. QEMU's messages and
 * repairs of such tables are compared in tests/interop/check.test.ts.
 */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { CrashDisk, crashStates, createRandom, toBytes } from '@vmblock/block-core/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { encodeName } from '../format/encode-name.ts'
import { HEADER_FIELD } from '../format/header.ts'
import {
  parseSnapshotTable,
  type Snapshot,
  serializeSnapshotTable,
  snapshotHeader,
} from '../format/snapshot-layout.ts'
import { decodeName } from '../format/words.ts'
import {
  bytesAt,
  copyOf,
  createImage,
  type Findings,
  findings,
  open,
  openLogged,
  pattern,
  SOUND,
  sameBytes,
} from '../testing/images.ts'

const CLUSTER = 512
const SIZE = 64 * 1024
const DATA = pattern(20 * CLUSTER)
const NAMES = ['first', 'second', 'third']
const CHECKS = { checkMode: true } as const

/** Extra data, id and name of full length, which also parse as more extra data, the id, and a short name. */
const [LONG_NAME, SHORT_NAME] = [300, 100]
const padded = (name: string): string => name.padEnd(SHORT_NAME, '.')
const snapshot = (name: string, id: number): Snapshot => ({
  l1TableOffset: 0n,
  l1Size: 0,
  id: encodeName(`${id}`),
  name: encodeName(`${id}${padded(name)}`.padStart(LONG_NAME, '.')),
  dateSec: 1_700_000_000,
  dateNsec: 0,
  vmClockNsec: 0n,
  vmStateSize: 0n,
  diskSize: BigInt(SIZE),
  icount: undefined,
  extraDataSize: 1024,
  unknownExtraData: pattern(1000, id),
})
/** Bytes from one entry to the next. */
const STRIDE = Math.ceil(serializeSnapshotTable([snapshot('', 1)], SIZE).length / 8) * 8

/** The header fields of the table: the number of entries, and its host offset in bytes. */
async function tableFields(file: BlockNode): Promise<{ count: number; offset: number }> {
  const fields = new DataView((await bytesAt(file, HEADER_FIELD.nbSnapshots, 12)).buffer)
  return { count: fields.getUint32(0), offset: Number(fields.getBigUint64(4)) }
}

async function setTableFields(file: BlockNode, count: number, offset: number): Promise<void> {
  const fields = new DataView(new ArrayBuffer(12))
  fields.setUint32(0, count)
  fields.setBigUint64(4, BigInt(offset))
  await file.write(HEADER_FIELD.nbSnapshots, new Uint8Array(fields.buffer))
}

/** The names in the table. */
async function namesIn(file: BlockNode): Promise<string[]> {
  const { count, offset } = await tableFields(file)
  const { snapshots, stop } = parseSnapshotTable(await bytesAt(file, offset, 16 * STRIDE), count)
  expect(stop).toBe('count')
  return snapshots.map(({ name }) => decodeName(name).slice(-SHORT_NAME).replaceAll('.', ''))
}

async function repair(file: BlockNode): Promise<Findings> {
  const node = await open(file, CHECKS)
  const lines: string[] = []
  const report = await node.check({ repair: 'all', report: ({ message }) => lines.push(message) })
  await node.close()
  return { ...report, lines }
}

async function requireData(file: BlockNode): Promise<void> {
  const node = await open(file, { readOnly: true })
  expect(sameBytes(await bytesAt(node, 0, DATA.length), DATA)).toBe(true)
  await node.close()
}

/** A correct image with three snapshots. */
async function makeImage(): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
  const node = await open(file)
  await node.write(0, DATA)
  await node.close()
  const offset = Math.ceil(file.size / CLUSTER) * CLUSTER
  const table = serializeSnapshotTable(
    NAMES.map((name, index) => snapshot(name, index + 1)),
    SIZE,
  )
  await file.write(offset, table)
  await setTableFields(file, NAMES.length, offset)
  // Its clusters are not counted yet.
  await repair(file)
  expect(await findings(file)).toMatchObject(SOUND)
  return file
}

/** Gives an entry more extra data than is allowed; the table keeps its length. */
async function breakEntry(file: BlockNode, index: number, more = LONG_NAME - SHORT_NAME): Promise<void> {
  const at = (await tableFields(file)).offset + index * STRIDE
  const head = await bytesAt(file, at, snapshotHeader.size)
  const fields = snapshotHeader.read(head)
  snapshotHeader.write(head, { ...fields, extraDataSize: 1024 + more, nameSize: SHORT_NAME })
  await file.write(at, head)
}

describe('a repair of the table of snapshots', () => {
  let file: BlockNode
  beforeEach(async () => {
    file = await makeImage()
  })

  it('keeps entries with too much extra data, without what is too much', async () => {
    await breakEntry(file, 0)
    await breakEntry(file, 2)
    const before = await tableFields(file)
    await expect(findings(await copyOf(file))).rejects.toMatchObject({ code: 'EFBIG' })
    expect(await tableFields(file)).toEqual(before)
    expect(await repair(file)).toMatchObject({ corruptionsFixed: 2, corruptions: 0, leaks: 0 })
    expect(await findings(file)).toMatchObject(SOUND)
    expect(await namesIn(file)).toEqual(NAMES)
    expect((await tableFields(file)).offset).not.toBe(before.offset)
    await requireData(file)
  })

  it('lets go of entries behind the end of the file', async () => {
    const { offset } = await tableFields(file)
    await setTableFields(file, 2 ** 32 - 1, offset)
    const report = await repair(file)
    expect(report.corruptions).toBe(0)
    expect(report.lines[0]).toBe('Discarding 4294901759 overhanging snapshots')
    expect(report.lines).toContainEqual(
      expect.stringMatching(
        /^Discarding 65\d+ overhanging snapshots \(they are behind the end of the file\)$/,
      ),
    )
    // As in QEMU, bytes behind the table are read as more entries.
    expect((await namesIn(file)).slice(0, NAMES.length)).toEqual(NAMES)
    expect(await findings(file)).toMatchObject(SOUND)
    await requireData(file)
  })

  it('lets go of entries behind 2 GiB of extra data, and of the table with the last of them', async () => {
    await breakEntry(file, 1, 2 ** 31)
    expect(await repair(file)).toMatchObject({ corruptions: 0, corruptionsFixed: 3 })
    expect(await findings(file)).toMatchObject(SOUND)
    expect(await namesIn(file)).toEqual(NAMES.slice(0, 1))
    await breakEntry(file, 0, 2 ** 31)
    await repair(file)
    expect(await findings(file)).toMatchObject(SOUND)
    expect(await tableFields(file)).toEqual({ count: 0, offset: 0 })
    await requireData(file)
  })

  it('frees nothing of others where the table seems to reach over them', async () => {
    const { offset } = await tableFields(file)
    await setTableFields(file, NAMES.length - 1, offset)
    await repair(file)
    // This guest data lies behind the table, and within the extra data that the table claims.
    const node = await open(file)
    await node.write(DATA.length, DATA)
    await node.close()
    await breakEntry(file, 1, 2 ** 20)
    await repair(file)
    expect(await findings(file)).toMatchObject(SOUND)
    const again = await open(file, { readOnly: true })
    for (const at of [0, DATA.length])
      expect(sameBytes(await bytesAt(again, at, DATA.length), DATA)).toBe(true)
    await again.close()
  })

  it('goes on after a power cut at any moment', { timeout: 60_000 }, async () => {
    await breakEntry(file, 0)
    await breakEntry(file, 2)
    const base = new CrashDisk()
    base.write(0, await toBytes(file))
    const { node, log } = await openLogged(file, CHECKS)
    await node.check({ repair: 'all' })
    await node.close()
    const plan = { random: createRandom(1), moments: 1000, disksPerMoment: 32 }
    let states = 0
    const seen = new Set<number>()
    for (const { disks, moment, story, fingerprint } of crashStates(new Map([['', base]]), log, plan)) {
      states++
      if (seen.has(fingerprint)) continue
      seen.add(fingerprint)
      const left = disks.get('')!
      const bytes = new Uint8Array(left.size)
      left.read(0, bytes)
      const disk = openMemory(bytes)
      const where = `${moment}: ${story()}`
      await repair(disk)
      expect(await findings(disk), where).toMatchObject(SOUND)
      expect(await namesIn(disk), where).toEqual(NAMES)
      await requireData(disk)
    }
    expect(seen.size).toBeGreaterThan(20)
    console.log(`counted ${states} states: a repair of the table of snapshots`)
  })
})
