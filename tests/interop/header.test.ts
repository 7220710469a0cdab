/** Unknown features and extensions in a header survive, and are treated as QEMU treats them. */
import { copyFileSync } from 'node:fs'
import { type BlockNode, messageOf } from '@vmblock/block-core'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'
import { requireSound } from './src/agreement.ts'
import {
  bytesBehind,
  type Extension,
  extensionsOf,
  FEATURE_NAMES,
  FEATURES,
  featureRow,
  rewriteHeader,
  setBits,
  wordAt,
} from './src/header-bytes.ts'
import { contentOf, openOurs } from './src/ours.ts'

const bench = openBench()
afterAll(() => bench.remove())

const UNKNOWN = { type: 0x12345678, data: new TextEncoder().encode('nobody knows me') }
const EMPTY = { type: 0x0badcafe, data: new Uint8Array(0) }
const BEHIND = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])

/** Makes an image with unknown features, in a file of that name. */
function makeStrange(name: string, more: readonly Extension[] = []): void {
  bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', name, '4M')
  const file = bench.read(name)
  const names = extensionsOf(file).find(({ type }) => type === FEATURE_NAMES)!
  const rows = [featureRow(1, 40, 'compatible future'), featureRow(2, 50, 'forgetful future')]
  const table = Uint8Array.from([names.data, ...rows].flatMap((bytes) => [...bytes]))
  rewriteHeader(file, BEHIND, [UNKNOWN, { type: FEATURE_NAMES, data: table }, ...more])
  setBits(file, FEATURES.compatible, 40, 63)
  setBits(file, FEATURES.autoclear, 50)
  bench.write(name, file)
}

/** The unknown parts of a header, wherever they are now. */
const unknownParts = (file: Uint8Array) => ({
  extensions: extensionsOf(file).filter(({ type }) => type === UNKNOWN.type || type === EMPTY.type),
  behind: bytesBehind(file),
  compatible: wordAt(file, FEATURES.compatible) & ~1n,
  autoclear: wordAt(file, FEATURES.autoclear),
})

const KEPT = {
  extensions: [UNKNOWN],
  behind: BEHIND,
  compatible: (1n << 40n) | (1n << 63n),
  autoclear: 0n,
}

interface Change {
  readonly what: string
  ours(node: BlockNode): Promise<void>
  theirs(name: string): void
}

const CHANGES: readonly Change[] = [
  {
    what: 'a write',
    ours: (node) => node.write(0, new Uint8Array(512).fill(7)),
    theirs: (name) => void bench.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 0 512', name),
  },
  {
    what: 'an amend',
    ours: (node) => node.amend({ lazy_refcounts: 'on' }),
    theirs: (name) => void bench.run('qemu-img', 'amend', '-f', 'qcow2', '-o', 'lazy_refcounts=on', name),
  },
  {
    what: 'a resize',
    ours: (node) => node.truncate(8 * 2 ** 20),
    theirs: (name) => void bench.run('qemu-img', 'resize', '-q', '-f', 'qcow2', name, '8M'),
  },
  {
    what: 'a new backing file',
    ours: (node) => node.changeBackingFile('base.raw', 'raw'),
    theirs: (name) =>
      void bench.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', name),
  },
]

describe.skipIf(!haveQemu)('a header from the future', () => {
  for (const { what, ours, theirs } of CHANGES) {
    test(`keeps unknown extensions after ${what}, exactly as QEMU keeps it`, async () => {
      bench.write('base.raw', new Uint8Array(4 * 2 ** 20))
      makeStrange('ours.qcow2')
      copyFileSync(bench.path('ours.qcow2'), bench.path('theirs.qcow2'))
      theirs('theirs.qcow2')
      const node = await openOurs(bench.path('ours.qcow2'), 'qcow2')
      await ours(node)
      await node.close()
      const [mine, real] = ['ours.qcow2', 'theirs.qcow2'].map((name) => bench.read(name).subarray(0, 65536))
      expect(unknownParts(mine!)).toEqual(KEPT)
      expect(Buffer.compare(mine!, real!), 'the header cluster is the same, byte by byte').toBe(0)
      await requireSound(bench, 'ours.qcow2')
    })
  }

  test('keeps the order of unknown extensions, which QEMU turns round', async () => {
    makeStrange('order.qcow2', [EMPTY])
    const node = await openOurs(bench.path('order.qcow2'), 'qcow2')
    await node.close()
    expect(unknownParts(bench.read('order.qcow2')).extensions).toEqual([UNKNOWN, EMPTY])
    bench.run('qemu-img', 'amend', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'order.qcow2')
    expect(unknownParts(bench.read('order.qcow2')).extensions).toEqual([EMPTY, UNKNOWN])
  })

  test('is not touched by a reader', async () => {
    makeStrange('read.qcow2')
    const before = bench.read('read.qcow2')
    await contentOf(bench.path('read.qcow2'), 'qcow2')
    expect(Buffer.compare(bench.read('read.qcow2'), before)).toBe(0)
    expect(unknownParts(before).autoclear).toBe(1n << 50n)
  })

  const refusals = [
    ['by its name in the image', [featureRow(0, 60, 'time travel')], [60]],
    ['by its number where it has no name', [], [60]],
    ['by name and number', [featureRow(0, 7, 'seven'), featureRow(1, 60, 'not this one')], [7, 60]],
    ['by the first of two names', [featureRow(0, 60, 'first'), featureRow(0, 60, 'second')], [60]],
    ['by a name as long as can be', [featureRow(0, 60, 'x'.repeat(46))], [60]],
  ] as const
  for (const [how, rows, bits] of refusals) {
    test(`is refused ${how} when it needs what is not there, in QEMU's words`, async () => {
      bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'refused.qcow2', '4M')
      const file = bench.read('refused.qcow2')
      rewriteHeader(file, new Uint8Array(0), [
        { type: FEATURE_NAMES, data: Uint8Array.from(rows.flatMap((row) => [...row])) },
      ])
      setBits(file, FEATURES.incompatible, ...bits)
      bench.write('refused.qcow2', file)
      const { status, stderr } = bench.attempt('qemu-img', 'info', '-f', 'qcow2', 'refused.qcow2')
      expect(status).toBe(1)
      const failure = await openOurs(bench.path('refused.qcow2'), 'qcow2').then(
        () => 'it opens',
        (error: unknown) => messageOf(error),
      )
      const reason = (text: string): string => text.trimEnd().replace(/^.*?(?=Unsupported)/, '')
      expect(reason(failure)).toBe(reason(stderr))
    })
  }
})
