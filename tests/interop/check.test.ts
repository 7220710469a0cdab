/**
 * Damaged images: our check finds what QEMU's finds, with the same messages, and our repair has the same
 * result as QEMU's.
 */
import type { RepairMode } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'
import { Patient } from './src/mutate.ts'
import { withSeeds } from './src/settings.ts'
import { isSoundVerdict, ourVerdict, theirVerdict, type Verdict } from './src/verdicts.ts'

const bench = openBench()
afterAll(() => bench.remove())

/** Creation options that are also tested with two snapshots. */
const WITH_SNAPSHOTS = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512,compat=0.10']

const VARIETIES = [
  'cluster_size=64k',
  'cluster_size=4k',
  'cluster_size=512',
  'cluster_size=16k,extended_l2=on',
  'cluster_size=4k,refcount_bits=1',
  'cluster_size=4k,refcount_bits=64',
  'cluster_size=4k,compat=0.10',
  'cluster_size=4k,lazy_refcounts=on',
]

/** How often each variety is damaged in a normal run. */
const ROUNDS = 8

/** Data, zeroes, compressed and discarded clusters. */
const CONTENT = [
  'write -P 1 0 40k',
  'write -P 2 600k 33k',
  'write -z 104k 24k',
  'write -c -P 3 512k 64k',
  'discard 0 20k',
]

/** Makes the image that is damaged, once for each variety. */
function makePatient(options: string, snapshots: boolean): Uint8Array {
  bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, 'sound.qcow2', '1M')
  bench.run('qemu-io', '-f', 'qcow2', ...CONTENT.flatMap((command) => ['-c', command]), 'sound.qcow2')
  if (snapshots) {
    bench.run('qemu-img', 'snapshot', '-c', 'before', 'sound.qcow2')
    bench.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 4 8k 64k', 'sound.qcow2')
    bench.run('qemu-img', 'snapshot', '-c', 'after it all', 'sound.qcow2')
  }
  return bench.read('sound.qcow2')
}

/** Writes one copy for each side. */
function admit(bytes: Uint8Array): void {
  bench.write('theirs.qcow2', bytes)
  bench.write('ours.qcow2', bytes)
}

async function compareChecks(bytes: Uint8Array): Promise<void> {
  admit(bytes)
  const theirs = theirVerdict(bench, 'theirs.qcow2')
  if (theirs.crash !== undefined) return
  expect(await ourVerdict(bench, 'ours.qcow2')).toEqual(theirs)
}

const BEYOND = /region exceeding the end of the file .* offset 0x(\w+) size 0x(\w+)$/

/**
 * Whether QEMU's repair frees too much. QEMU discards what it frees. After rewriting the snapshot table it
 * frees the clusters of the old one even where they are not the table's: beyond the end of the file (it makes
 * refcounts for them first), the header's, or other structures', which are lost. It also frees what lies
 * under a table that reaches beyond the file, which it does not count, and reads again.
 */
function misfrees(bytes: Uint8Array, { lines }: Verdict): boolean {
  if (theirVerdict(bench, 'theirs.qcow2').failure !== undefined) return true
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const clusterSize = 2 ** view.getUint32(20)
  const table = view.getBigUint64(64).toString(16)
  return lines.some((line) => {
    const [, offset, size] = BEYOND.exec(line) ?? []
    return size !== undefined && (offset === table || Number.parseInt(size, 16) > clusterSize)
  })
}

async function compareRepairs(bytes: Uint8Array, repair: RepairMode): Promise<void> {
  admit(bytes)
  const theirs = theirVerdict(bench, 'theirs.qcow2', repair)
  const ours = await ourVerdict(bench, 'ours.qcow2', repair)
  // Where QEMU gives up or dies, its progress cannot be compared. In a misaligned table it repairs flags, and
  // so changes whatever is there; we do not.
  const completed = theirs.failure === undefined && theirs.crash === undefined
  const misplaced = theirs.lines.some((line) => line.includes('Table is not cluster aligned'))
  // A snapshot without a table stays in QEMU's list for ever; we drop it.
  const lost =
    repair === 'all' && theirs.lines.some((line) => line.includes('snapshot table entry corrupted'))
  if (completed && !misplaced && !lost && !misfrees(bytes, theirs)) expect(ours).toEqual(theirs)
  for (const name of ['theirs.qcow2', 'ours.qcow2'])
    expect(await ourVerdict(bench, name), `what both say of ${name}, repaired`).toEqual(
      theirVerdict(bench, name),
    )
  if (isSoundVerdict(theirVerdict(bench, 'theirs.qcow2')))
    expect(isSoundVerdict(theirVerdict(bench, 'ours.qcow2')), 'our repair is as good').toBe(true)
}

describe.skipIf(!haveQemu)('damaged images are checked and repaired as QEMU does it', () => {
  const patients = [
    ...VARIETIES.map((options) => ({ name: options, options, snapshots: false })),
    ...WITH_SNAPSHOTS.map((options) => ({ name: `${options}, with snapshots`, options, snapshots: true })),
  ]
  for (const { name, options, snapshots } of patients) {
    test(name, { timeout: 600_000 }, async () => {
      const sound = makePatient(options, snapshots)
      const damaged = async (seed: number): Promise<void> => {
        const random = createRandom(seed)
        const patient = new Patient(sound.slice())
        for (let count = random.int(1, 4); count > 0; count--) patient.damage(random)
        try {
          await compareChecks(patient.bytes)
          await compareRepairs(patient.bytes, 'leaks')
          await compareRepairs(patient.bytes, 'all')
        } catch (error) {
          if (error instanceof Error) error.message = `${patient.story.join('; ')}: ${error.message}`
          throw error
        }
      }
      await withSeeds(name, damaged, ROUNDS)
    })
  }
})
