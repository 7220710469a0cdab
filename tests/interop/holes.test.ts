/** Holes of files: found, punched and filled as QEMU does it, so that maps and allocated sizes agree. */
import { closeSync, ftruncateSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { systemCalls } from '@vmblock/block-core/node'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { haveQemu } from '../support/real-qemu.ts'
import { type OurPrograms, printed, useBothPrograms } from './src/held-program.ts'

const { workshop, programs } = useBothPrograms(systemCalls.seekData !== undefined)
const { directory } = workshop

const canSeek = haveQemu && process.platform === 'linux' && systemCalls.seekData !== undefined

/** Makes a file of `size` bytes with data in some ranges: [offset, bytes]. */
function sparse(name: string, size: number, data: readonly (readonly [number, number])[]): void {
  const fd = openSync(workshop.path(name), 'w')
  ftruncateSync(fd, size)
  for (const [offset, bytes] of data) writeSync(fd, new Uint8Array(bytes).fill(7), 0, bytes, offset)
  ftruncateSync(fd, size)
  closeSync(fd)
}

const MiB = 2 ** 20
const LAYOUTS: Readonly<
  Record<string, readonly [size: number, data: readonly (readonly [number, number])[]]>
> = {
  'nothing but a hole': [MiB, []],
  'nothing but data': [70_000, [[0, 70_000]]],
  'one byte': [1, [[0, 1]]],
  'a hole at the end': [3 * MiB, [[0, 65_536]]],
  'a hole at the start': [3 * MiB, [[2 * MiB, MiB]]],
  'an odd end in data': [MiB - 1, [[MiB - 65_536, 65_535]]],
  'an odd end in a hole': [MiB + 1, [[0, 4096]]],
  'an odd end after half a sector': [4096 + 300, [[4096, 300]]],
  'data that begins within a block': [
    MiB,
    [
      [10_000, 100],
      [500_000, 1],
    ],
  ],
  'many holes': [8 * MiB, Array.from({ length: 60 }, (_, index) => [index * 131_072, 4096] as const)],
}

const maps = (programs: OurPrograms, name: string, more = ''): unknown =>
  JSON.parse(
    printed(
      programs.img,
      ['map', '--output=json', '--image-opts', `driver=raw,file.driver=file,file.filename=${name}${more}`],
      directory,
    ),
  )

describe.skipIf(!canSeek)('a map', () => {
  test.each(Object.entries(LAYOUTS))('of %s', (_, [size, data]) => {
    sparse('map.raw', size, data)
    for (const more of ['', ',cache.direct=on'])
      expect(maps(programs.ours, 'map.raw', more), more).toEqual(maps(programs.real, 'map.raw', more))
  })
})

/**
 * Images whose files are mostly holes: created so, grown so, or written in parts of clusters.
 *
 * @returns what is mapped
 */
const MOSTLY_HOLES: Readonly<Record<string, (programs: OurPrograms) => string>> = {
  'preallocated metadata by QEMU': () => {
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'h.qcow2', '256M')
    workshop.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 100M 1M', 'h.qcow2')
    return 'h.qcow2'
  },
  'preallocated metadata by us': ({ img }) => {
    printed(img, ['create', '-f', 'qcow2', '-o', 'preallocation=metadata', 'h.qcow2', '256M'], directory)
    workshop.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 100M 1M', 'h.qcow2')
    return 'h.qcow2'
  },
  'parts of clusters, written by us': ({ io }) => {
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'h.qcow2', '256M')
    const writes = Array.from({ length: 60 }, (_, i) => ['-c', `write -P 2 ${i * 7 * 65536} 4k`]).flat()
    printed(io, ['-f', 'qcow2', ...writes, 'h.qcow2'], directory)
    return 'h.qcow2'
  },
  'an overlay of one': () => {
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'b.qcow2', '64M')
    workshop.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 10M 1M', 'b.qcow2')
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'b.qcow2', '-F', 'qcow2', 'h.qcow2')
    return 'h.qcow2'
  },
}

describe.skipIf(!canSeek)('a map of an image that is mostly holes', () => {
  test.each(Object.entries(MOSTLY_HOLES))('is the same: %s', (_, make) => {
    const name = make(programs.ours)
    const args = ['map', '--output=json', '-f', 'qcow2', name]
    const theirs = printed(programs.real.img, args, directory)
    expect(printed(programs.ours.img, args, directory)).toBe(theirs)
    expect(theirs).toContain('"zero": true, "data": true')
  })
})

const LAYOUT = [
  4 * MiB,
  [
    [0, MiB],
    [2 * MiB, 500_000],
  ],
] as const
const COMMANDS = ['discard', 'write -z', 'write -z -u', 'write -P 5'] as const

describe.skipIf(!canSeek)('what commands leave', () => {
  test.each([1, 2, 3])('by either program is the same: seed %i', (seed) => {
    const random = createRandom(seed)
    sparse('a.raw', ...LAYOUT)
    // Written alike rather than copied: holes that were read are in the page cache, and change the result.
    sparse('b.raw', ...LAYOUT)
    const commands: string[] = []
    for (let count = 0; count < 12; count++) {
      const offset = random.int(0, (4 * MiB) / 512) * 512
      const bytes = Math.min(random.int(1, 1200) * 512, 4 * MiB - offset)
      commands.push('-c', `${random.pick(COMMANDS)} ${offset} ${bytes}`)
    }
    const args = (name: string): string[] => ['-f', 'raw', '-d', 'unmap', '-t', 'unsafe', ...commands, name]
    printed(programs.real.io, args('a.raw'), directory)
    printed(programs.ours.io, args('b.raw'), directory)
    expect(maps(programs.real, 'b.raw')).toEqual(maps(programs.real, 'a.raw'))
    const [theirs, own] = ['a.raw', 'b.raw'].map((name) => statSync(workshop.path(name)).blocks * 512)
    // The file system's own tables count too, and depend on when it wrote them.
    expect(Math.abs(theirs! - own!)).toBeLessThan(16_384)
    expect(Buffer.compare(workshop.read('b.raw'), workshop.read('a.raw'))).toBe(0)
  })

  test.each(['off', 'falloc', 'full'])('a file of preallocation=%s takes what QEMU takes', (mode) => {
    const made = (programs: OurPrograms, name: string): number => {
      rmSync(workshop.path(name), { force: true })
      printed(
        programs.img,
        ['create', '-q', '-f', 'raw', '-o', `preallocation=${mode}`, name, '3M'],
        directory,
      )
      printed(programs.img, ['resize', '-q', '-f', 'raw', '--preallocation', mode, name, '5M'], directory)
      return statSync(workshop.path(name)).blocks
    }
    expect(made(programs.ours, 'ours.raw')).toBe(made(programs.real, 'real.raw'))
  })
})
