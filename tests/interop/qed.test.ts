/** QED images pass back and forth, and both sides report the same about them. */
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'
import { openOurs } from './src/ours.ts'
import { passBackAndForth } from './src/rounds.ts'
import { chain, type Maker, make, randomFor } from './src/varieties.ts'

const MIB = 2 ** 20
const MAKERS: readonly Maker[] = ['qemu-img', 'our create']

// QEMU copies backing data around a write to part of a zero cluster, so these have no zero writes.
passBackAndForth(
  'QED overlays pass back and forth',
  [
    chain(
      'over raw',
      [
        { format: 'raw', size: 2 * MIB },
        { format: 'qed', size: 2 * MIB },
      ],
      { noZeroes: true },
    ),
    chain(
      'over shorter qcow2',
      [
        { format: 'qcow2', size: MIB + 512 * 5 },
        { format: 'qed', size: 2 * MIB, options: { cluster_size: '4k' } },
      ],
      { noZeroes: true },
    ),
    chain(
      'over QED',
      [
        { format: 'qed', size: 2 * MIB },
        { format: 'qed', size: 2 * MIB },
      ],
      { noZeroes: true },
    ),
  ],
  MAKERS,
)

describe.skipIf(!haveQemu)('of a QED image', () => {
  const bench = openBench()
  afterAll(() => bench.remove())

  test.each([
    ['default', {}],
    ['small clusters', { cluster_size: '4k', table_size: '2' }],
    ['an overlay of raw', { backing_file: 'base', backing_fmt: 'raw' }],
    ['an overlay of something', { backing_file: 'base', backing_fmt: 'qcow2' }],
  ])('both programs make the same file, and our info says what QEMU says: %s', async (_, options) => {
    bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'base', '1M')
    for (const maker of MAKERS)
      await make({ bench, maker, random: randomFor(1, maker) }, `by ${maker}`, 'qed', MIB, options)
    expect(bench.read('by our create')).toEqual(bench.read('by qemu-img'))
    const theirs = JSON.parse(
      bench.run('qemu-img', 'info', '-f', 'qed', '--output=json', 'by our create'),
    ) as Record<string, unknown>
    const node = await openOurs(bench.path('by our create'), 'qed', { readOnly: true })
    const info = await node.info()
    await node.close()
    expect({
      'virtual-size': node.size,
      'cluster-size': info.clusterSize,
      'dirty-flag': info.dirty,
      'backing-filename': info.backingFilename,
      'backing-filename-format': info.backingFormat,
    }).toEqual({
      'virtual-size': theirs['virtual-size'],
      'cluster-size': theirs['cluster-size'],
      'dirty-flag': theirs['dirty-flag'],
      'backing-filename': theirs['backing-filename'],
      'backing-filename-format': theirs['backing-filename-format'],
    })
  })
})
