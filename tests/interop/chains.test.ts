/** Overlays pass back and forth; the images below them stay unchanged. */
import { passBackAndForth } from './src/rounds.ts'
import { chain } from './src/varieties.ts'

const MIB = 2 ** 20
const raw = (size: number) => ({ format: 'raw', size }) as const
const qcow2 = (size: number, options: Readonly<Record<string, string>> = {}) =>
  ({ format: 'qcow2', size, options }) as const

passBackAndForth(
  'overlays pass back and forth',
  [
    chain('over raw', [raw(2 * MIB), qcow2(2 * MIB)]),
    chain('over qcow2', [qcow2(2 * MIB), qcow2(2 * MIB)]),
    chain('over shorter raw', [raw(MIB + 512 * 3), qcow2(2 * MIB)]),
    chain('over shorter qcow2', [qcow2(MIB + 512 * 5), qcow2(2 * MIB)]),
    chain('over longer raw', [raw(3 * MIB), qcow2(2 * MIB + 512)]),
    chain('over longer qcow2', [qcow2(3 * MIB), qcow2(2 * MIB + 512)]),
    chain('over a chain', [
      raw(3 * MIB),
      qcow2(MIB + 512, { cluster_size: '4k' }),
      qcow2(2 * MIB, { cluster_size: '16k', lazy_refcounts: 'on' }),
    ]),
    chain('compat=0.10 over qcow2', [qcow2(MIB), qcow2(2 * MIB, { compat: '0.10' })]),
    chain('extended_l2=on over raw', [raw(2 * MIB), qcow2(2 * MIB, { extended_l2: 'on' })], { grain: 2048 }),
    chain('cluster_size=512 over qcow2', [qcow2(MIB), qcow2(MIB, { cluster_size: '512' })]),
  ],
  ['qemu-img', 'our create'],
)
