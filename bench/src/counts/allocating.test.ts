/** The cost of our durable allocating writes, counted on real files: the promise of the table in docs/performance.md. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { KINDS } from '../images.ts'
import { countOurs } from './allocating.ts'

const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const WRITES = 64

test.each(KINDS.map((kind) => [kind.id, kind] as const))('%s, one write at a time', async (id, kind) => {
  const path = join(directory, 'image')
  const counts = await countOurs({ kind, path, writes: WRITES, depth: 1 })
  const flushesEach = { raw: 1, eager: 2, lazy: 1, qed: 1 }[id]!
  const metadataEach = { raw: 0, eager: 2, lazy: 1, qed: 1 }[id]!
  expect(counts).toMatchObject({ requests: WRITES, dataWrites: WRITES })
  // A few more for the first cluster and the shutdown.
  expect(counts.flushes / WRITES).toBeGreaterThanOrEqual(flushesEach)
  expect(counts.flushes / WRITES).toBeLessThan(flushesEach + 0.2)
  expect(counts.metadataWrites / WRITES).toBeLessThan(metadataEach + 0.2)
  expect(counts.metadataBytes / WRITES).toBeLessThanOrEqual(metadataEach * 600)
  expect(readdirSync(directory)).toEqual([])
})

test('writes in flight at a time share their flushes', async () => {
  const [, eager] = KINDS
  const path = join(directory, 'image')
  const counts = await countOurs({ kind: eager!, path, writes: WRITES * 4, depth: 32 })
  expect(counts.dataWrites).toBe(WRITES * 4)
  expect(counts.flushes).toBeLessThan(WRITES)
})
