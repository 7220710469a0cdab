/**
 * Files that end inside a cluster, and disks that end inside a sector: the same bytes through every protocol,
 * and as QEMU shows them.
 */
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type BlockNode,
  blkdebug,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
  passThrough,
  type RawOptions,
} from '@vmblock/block-core'
import { blob, http } from '@vmblock/block-core/browser'
import { alignUp } from '@vmblock/block-core/driver'
import { file } from '@vmblock/block-core/node'
import { formats } from '@vmblock/formats'
import { EmulatorDisk } from '@vmblock/v86'
import { v86Disk } from '@vmblock/v86/node'
import { describe, expect, test } from 'vitest'
import { haveQemu } from '../support/real-qemu.ts'
import { attempt, type OurPrograms, printed, useBothPrograms } from './src/held-program.ts'

const { workshop, programs } = useBothPrograms(true)
const { directory } = workshop
const path = (name: string): string => join(directory, name)

const KIB = 1024
const MIB = KIB * KIB

const environment = {
  registry: new DriverRegistry([...formats, file, memory, blob, http, passThrough, blkdebug]),
  host: denyHost,
}

/** A `fetch` that answers like a web server. */
const served = (content: Uint8Array) =>
  (async (_url: unknown, init?: RequestInit) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get('range') ?? '') ?? []
    const end = Math.min(Number(last) + 1, content.length)
    return new Response(content.slice(Number(first), end), {
      status: 206,
      headers: { 'content-range': `bytes ${first}-${end - 1}/${content.length}`, etag: '"1"' },
    })
  }) as typeof fetch

/** Every protocol outside a page that reaches the bytes of a file, as the options of a child. */
function waysTo(name: string): Readonly<Record<string, RawOptions | BlockNode>> {
  const content = new Uint8Array(readFileSync(path(name)))
  const below = { driver: 'blob', blob: new Blob([content]) }
  return {
    file: { driver: 'file', filename: path(name) },
    memory: openMemory(content, { readOnly: true }),
    blob: below,
    http: { driver: 'http', url: 'http://localhost/x', fetch: served(content) },
    'a filter over a blob': { driver: passThrough.name, file: below },
    'two filters over a blob': {
      driver: 'blkdebug',
      image: { driver: passThrough.name, file: below },
    },
  }
}

async function contentOf(driver: string, way: RawOptions | BlockNode): Promise<string> {
  const node = await openNode(environment, { driver, file: way, readOnly: true })
  const bytes = new Uint8Array(node.size).fill(0xee)
  // In pieces that cross the end of the file, and in one.
  for (let at = 0; at < bytes.length; at += 24_000) await node.read(at, bytes.subarray(at, at + 24_000))
  const whole = new Uint8Array(node.size).fill(0xee)
  await node.read(0, whole)
  expect(Buffer.compare(bytes, whole), 'pieces and the whole agree').toBe(0)
  await node.close()
  return Buffer.from(whole).toString('base64')
}

/** Images whose last cluster holds `0x5a` in its first KiB and zeroes after it, cut off within the zeroes. */
const CUT = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=2M', 'extended_l2=on']

describe.skipIf(!haveQemu)('a file that ends within its last cluster', () => {
  test.each(CUT)('shows the same through every protocol: qcow2, %s', async (options) => {
    const { io, img } = programs.real
    printed(img, ['create', '-q', '-f', 'qcow2', '-o', options, 'cut', '1M'], directory)
    printed(io, ['-c', 'write -P 0x5a 512k 1k', 'cut'], directory)
    const { size } = statSync(path('cut'))
    printed(img, ['convert', '-O', 'raw', 'cut', 'want'], directory)
    const want = readFileSync(path('want')).toString('base64')
    for (const cut of [0, 1, 511, 512, 1000]) {
      truncateSync(path('cut'), size - cut)
      for (const [way, options] of Object.entries(waysTo('cut')))
        expect((await contentOf('qcow2', options)) === want, `${way}, ${cut} bytes cut off`).toBe(true)
    }
  })

  test('is read or refused the same through every protocol: qed', async () => {
    printed(programs.real.img, ['create', '-q', '-f', 'qed', 'cut', '1M'], directory)
    printed(programs.real.io, ['-f', 'qed', '-c', 'write -P 0x5a 0 1k', 'cut'], directory)
    const { size } = statSync(path('cut'))
    for (const [cut, isRefused] of [
      [1, false],
      [511, false],
      [512, true],
      [40_000, true],
    ] as const) {
      truncateSync(path('cut'), size - cut)
      const real = attempt(programs.real.io, ['-r', '-f', 'qed', '-c', 'read 0 1k', 'cut'], directory)
      expect(real.status, `QEMU, ${cut} bytes cut off`).toBe(isRefused ? 1 : 0)
      for (const [way, options] of Object.entries(waysTo('cut'))) {
        const reading = contentOf('qed', options).then(
          () => 'read',
          (error: unknown) => (error as { code: string }).code,
        )
        expect(await reading, `${way}, ${cut} bytes cut off`).toBe(isRefused ? 'EINVAL' : 'read')
      }
    }
  })

  test('is not what our programs leave behind', async () => {
    const { io, img } = programs.ours
    for (const [options, cluster] of [
      ['cluster_size=64k', 65536],
      ['cluster_size=4k,lazy_refcounts=on', 4096],
      ['cluster_size=2M,extended_l2=on', 2 * MIB],
      ['compat=0.10', 65536],
    ] as const) {
      printed(img, ['create', '-q', '-f', 'qcow2', '-o', options, 'ours', '8M'], directory)
      for (const commands of [['write -P 1 0 1k'], ['write -P 2 3M 512', 'flush', 'write -P 3 5M 100']]) {
        printed(io, [...commands.flatMap((command) => ['-c', command]), 'ours'], directory)
        expect(statSync(path('ours')).size % cluster, `${options} ${commands}`).toBe(0)
        expect(attempt(programs.real.img, ['check', '-q', 'ours'], directory).status).toBe(0)
      }
      writeFileSync(path('odd.raw'), Buffer.alloc(300_000, 7))
      printed(img, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', options, 'odd.raw', 'ours'], directory)
      expect(statSync(path('ours')).size % cluster, `${options} convert`).toBe(0)
    }
  })
})

/** The output of either side, without times. */
const withoutTimes = (text: string): string =>
  text.replace(/\d[\d.]* (sec|[KMG]iB\/sec|bytes\/sec)[^\n]*/g, '')

function sameAsQemu(step: (sides: OurPrograms) => string): void {
  expect(step(programs.ours)).toBe(step(programs.real))
}

/** Sets the field of a qcow2 header that holds the size of the disk. */
function setDiskSize(name: string, bytes: number): void {
  const image = readFileSync(path(name))
  image.writeBigUInt64BE(BigInt(bytes), 24)
  writeFileSync(path(name), image)
}

describe.skipIf(!haveQemu)('a disk that ends between two sectors', () => {
  test.each([1023, 65_536 + 1, 100_001])('is what QEMU shows of %i bytes', async (bytes) => {
    writeFileSync(path('source'), Buffer.alloc(bytes, 0x41))
    const { img: real } = programs.real
    printed(real, ['create', '-q', '-f', 'qcow2', 'source.qcow2', '1M'], directory)
    printed(programs.real.io, ['-c', 'write -P 0x42 0 1M', 'source.qcow2'], directory)
    setDiskSize('source.qcow2', bytes)
    for (const [name, format] of [
      ['source', 'raw'],
      ['source.qcow2', 'qcow2'],
    ] as const) {
      sameAsQemu(({ img, io }) => {
        const copy = `copy.${format}`
        writeFileSync(path(copy), readFileSync(path(name)))
        const said: unknown[] = [
          printed(img, ['map', '--output=json', '-f', format, copy], directory),
          printed(img, ['info', '-f', format, copy], directory)
            .split('\n')
            .filter((line) => line.startsWith('virtual')),
        ]
        const commands = (...list: string[]): string[] => list.flatMap((command) => ['-c', command])
        const inside = commands('length', `read -v ${bytes - 600} 88`, `write -P 9 ${bytes - 600} 1`, 'map')
        said.push(printed(io, ['-f', format, ...inside, copy], directory))
        for (const at of [bytes - 1, bytes, alignUp(bytes, 512)])
          said.push(
            attempt(io, ['-f', format, ...commands(`read ${at} 1`, `write ${at} 1`), copy], directory),
          )
        printed(img, ['convert', '-f', format, '-O', 'raw', copy, 'out.raw'], directory)
        said.push(readFileSync(path('out.raw')).toString('base64'), statSync(path(copy)).size)
        said.push(attempt(img, ['resize', '-f', format, copy, '+1k'], directory))
        said.push(attempt(img, ['check', '-f', format, copy], directory).status)
        printed(img, ['create', '-q', '-f', 'qcow2', '-b', copy, '-F', format, 'over.qcow2'], directory)
        said.push(printed(io, ['-c', 'length', 'over.qcow2'], directory))
        return withoutTimes(JSON.stringify(said))
      })
    }
  })

  test('is whole sectors for an emulator, through every protocol', async () => {
    writeFileSync(path('odd.raw'), Buffer.alloc(100_001, 5))
    for (const [way, below] of Object.entries(waysTo('odd.raw'))) {
      const node = await openNode(environment, { driver: 'raw', file: below, readOnly: true })
      const disk = new EmulatorDisk(node)
      expect(disk.sectors, way).toBe(196)
      const last = new Uint8Array(512).fill(0xee)
      await disk.read(195, last)
      expect([last[160], last[161], last[511]], way).toEqual([5, 0, 0])
      await disk.close()
      await node.close()
    }
    const disk = await v86Disk({ file: path('odd.raw') })
    expect(disk.byteLength).toBe(100_352)
    await disk.write(195, new Uint8Array(512).fill(6))
    await disk.close()
    expect(statSync(path('odd.raw')).size).toBe(100_352)
  })
})
