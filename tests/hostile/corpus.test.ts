/** Images that once exposed a bug do no harm. */
import { openMemory, openNode } from '@vmblock/block-core'
import { afterAll, describe, expect, test } from 'vitest'
import { type Case, CORPUS, imageOf, Pen, SCALE } from './src/corpus.ts'
import { TABLES } from './src/corpus-tables.ts'
import { environment, exercise } from './src/exercise.ts'
import { diskOf } from './src/fuzz.ts'
import { installMeter } from './src/meter.ts'
import { makeOwnSeeds } from './src/seeds.ts'

const seeds = await makeOwnSeeds()
const meter = installMeter()
afterAll(() => meter.remove())

/** Long runs make every pass over the tables, too. */
const THOROUGH = process.env['HOSTILE_RUNS'] !== undefined
/** Milliseconds: processor time is what is bounded, but a test that hangs must fail. */
const timeout = 600_000

const harms = (one: Case, only?: string) => {
  const seed = seeds.find(({ name }) => name === one.seed)!
  const image = imageOf(one, seed.bytes)
  return exercise(seed.driver, () => diskOf(image), meter, only, SCALE)
}

test.each(CORPUS)('$name', { timeout }, async (one) => {
  expect(await harms(one)).toEqual([])
})

describe('tables:', () => {
  test.each(TABLES)('$name', { timeout }, async (one) => {
    expect(await harms(one, THOROUGH ? undefined : (one.pass ?? 'check mode'))).toEqual([])
  })
})

test('a check goes through tables that a thousand snapshots share', { timeout }, async () => {
  const image = new Pen(seeds.find(({ name }) => name === 'small clusters')!.bytes)
  const { clusterSize, l1 } = image
  const snapshots = 1200
  let at = image.end
  for (let i = 0; i < 32; i++, at += clusterSize) {
    image.u64(l1 + i * 8, BigInt(at))
    image.u64(at, 1n)
  }
  image.u32(60, snapshots)
  image.u64(64, BigInt(at))
  const tables = at + Math.ceil((snapshots * 40) / clusterSize) * clusterSize
  for (let i = 0; i < snapshots; i++) {
    image.u64(at + i * 40, BigInt(tables + i * clusterSize))
    image.u32(at + i * 40 + 8, 32)
    image.put(tables + i * clusterSize, image.bytes.slice(l1, l1 + 256))
  }
  const node = await openNode(environment, {
    driver: 'qcow2',
    file: openMemory(image.bytes),
    readOnly: true,
  })
  const { checkErrors, corruptions } = await node.check()
  expect(checkErrors).toBe(0)
  // The refcounts do not include them.
  expect(corruptions).toBeGreaterThan(32)
  await node.close()
})
