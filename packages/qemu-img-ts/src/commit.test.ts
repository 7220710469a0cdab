/** `commit`, and the bitmaps of the overlay: it shows what it showed, so nothing is marked. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bitmapsOf, openNode } from '@vmblock/block-core'
import { afterAll, expect, it } from 'vitest'
import { nodeServices, runOurs } from './testing/two-programs.ts'

const directory = mkdtempSync(join(tmpdir(), 'commit-'))
afterAll(() => rmSync(directory, { recursive: true }))
const CLUSTER = 64 * 1024

it('marks nothing in the bitmaps of the overlay that it empties', async () => {
  const [base, top] = ['base', 'top'].map((name) => join(directory, name))
  const run = async (...words: string[]) => expect(await runOurs(words)).toMatchObject({ status: 0, err: '' })
  await run('create', '-q', '-f', 'qcow2', base!, '1M')
  await run('create', '-q', '-f', 'qcow2', '-b', base!, '-F', 'qcow2', top!)
  await run('bitmap', '--add', top!, 'b')
  const open = () => openNode(nodeServices(), { driver: 'qcow2', filename: top! })
  const written = await open()
  await written.write(CLUSTER, new Uint8Array(CLUSTER).fill(1))
  await written.close()
  await run('commit', '-q', top!)
  const node = await open()
  expect((await node.blockStatus(CLUSTER, CLUSTER)).allocated).toBe(false)
  expect(await bitmapsOf(node).dirtyRanges('b')).toEqual([{ offset: CLUSTER, bytes: CLUSTER }])
  await node.close()
})
