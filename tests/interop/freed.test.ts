/**
 * Freed data does not reappear. In QEMU 7.2 it does in two cases, which the turns of the other tests avoid:
 * when one of the lines about QEMU fails with a later version, its detour in `turns.ts` can be removed.
 */
import { systemCalls } from '@vmblock/block-core/node'
import { describe, expect, test } from 'vitest'
import { haveQemu } from '../support/real-qemu.ts'
import { attempt, type OurPrograms, printed, useBothPrograms } from './src/held-program.ts'

const { workshop, programs } = useBothPrograms(systemCalls.seekData !== undefined)
const { directory } = workshop

const MiB = 2 ** 20

interface Case {
  /** Bytes; the disk is created with this size, shrunk, and grown again. */
  readonly size: number
  readonly shrunk: number
  readonly preallocation: 'off' | 'metadata' | 'falloc' | 'full'
  readonly writes: readonly string[]
}

const AT_END = [
  `truncate -m off ${4 * MiB}`,
  `write -P 94 ${2 * MiB} ${2 * MiB}`,
  `write -z -u ${2 * MiB} ${2 * MiB}`,
]

const CASES: Readonly<Record<string, Case>> = {
  'the rest of the last cluster of a shrunk disk': {
    size: MiB,
    shrunk: MiB - 512,
    preallocation: 'off',
    writes: [`write -P 94 0 ${MiB}`],
  },
  // They are in the middle of the file, whose length therefore stays the same.
  'freed clusters that metadata preallocation takes': {
    size: 6 * MiB,
    shrunk: 4 * MiB,
    preallocation: 'metadata',
    writes: [`write -P 94 ${4 * MiB} ${2 * MiB}`, 'write -P 1 0 64k'],
  },
  // They are at the end of the file, which is not truncated.
  'freed clusters that falloc takes': {
    size: 6 * MiB,
    shrunk: 4 * MiB,
    preallocation: 'falloc',
    writes: AT_END,
  },
  'freed clusters that full preallocation takes': {
    size: 6 * MiB,
    shrunk: 4 * MiB,
    preallocation: 'full',
    writes: AT_END,
  },
}

/** Punches no holes for freed clusters, which is the default of guests' disks (`discard=ignore`). */
const DISK = 'driver=qcow2,discard=ignore,file.driver=file,file.filename=disk.qcow2,file.discard=ignore'

/** Whether the grown part of the disk reads as zeroes after one side has run the case. */
function isZero(programs: OurPrograms, { size, shrunk, preallocation, writes }: Case): boolean {
  printed(programs.img, ['create', '-q', '-f', 'qcow2', 'disk.qcow2', `${size}`], directory)
  const commands = [...writes, `truncate -m off ${shrunk}`, `truncate -m ${preallocation} ${size}`]
  printed(programs.io, [...commands.flatMap((command) => ['-c', command]), '--image-opts', DISK], directory)
  const grown = size - shrunk
  // With a pattern that does not match, the program exits with 1.
  const read = (byte: number, bytes: number): boolean => {
    const command = `read -P ${byte} ${shrunk} ${bytes}`
    return attempt(programs.io, ['-c', command, '--image-opts', DISK], directory).status === 0
  }
  expect(read(94, Math.min(grown, 65_536))).toBe(!read(0, grown))
  return read(0, grown)
}

describe.skipIf(!haveQemu)('a disk that was shrunk and grows again', () => {
  test.each(Object.entries(CASES))('does not show %s, where QEMU does', (_, scene) => {
    expect(isZero(programs.ours, scene), 'our programs show zeroes').toBe(true)
    expect(isZero(programs.real, scene), "QEMU's programs show zeroes").toBe(false)
  })
})
