/**
 * Hostile images through the programs: one readable error, never a stack trace; and no file opened that was
 * not named.
 */
import { spawnSync } from 'node:child_process'
import { linkSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openMemory, openNode } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runOurs } from '../../packages/qemu-img-ts/src/testing/two-programs.ts'
import { runMain } from '../../packages/qemu-io-ts/src/testing.ts'
import { haveQemu, openBench } from '../support/real-qemu.ts'
import { environment } from './src/exercise.ts'
import { mutate } from './src/mutate.ts'
import { makeOwnSeeds } from './src/seeds.ts'

/** HOSTILE_RUNS: number of images; HOSTILE_SEED: number of the first. */
const RUNS = Math.ceil(Number(process.env['HOSTILE_RUNS'] ?? 50) / 5)
const FIRST = Number(process.env['HOSTILE_SEED'] ?? 1)

const bench = openBench()
const home = process.cwd()
beforeAll(() => process.chdir(bench.directory))
afterAll(() => {
  process.chdir(home)
  bench.remove()
})

/** Text that no user must see. */
const MACHINERY = /\n {4}at |\.ts:\d|TypeError|RangeError|undefined|NaN|\[object|Infinity/

const img = async (...words: string[]): Promise<string> => {
  const { out, err, status } = await runOurs(words)
  expect(status).toBeGreaterThanOrEqual(0)
  return status === 0 ? out + err : err
}
const io = async (format: string, commands: readonly string[], name: string): Promise<string> => {
  const { merged, err, status } = await runMain([
    '-f',
    format,
    ...commands.flatMap((word) => ['-c', word]),
    name,
  ])
  return status === 0 ? merged : err + merged
}

test(`${RUNS} hostile images from number ${FIRST} on`, { timeout: 0 }, async () => {
  const seeds = (await makeOwnSeeds()).filter(({ name }) => name !== 'large clusters')
  for (let round = FIRST; round < FIRST + RUNS; round++) {
    const random = createRandom(round)
    const seed = random.pick(seeds)
    const { bytes, story } = mutate(seed, random)
    const said: string[] = []
    const fresh = (): void => writeFileSync('disk', bytes)
    const { driver } = seed
    for (const words of [
      ['info', 'disk'],
      ['info', '--output=json', '-f', driver, 'disk'],
      ['map', '-f', driver, 'disk'],
      ['check', '-f', driver, 'disk'],
      ['check', '-r', 'all', '-f', driver, 'disk'],
      ['resize', '-f', driver, 'disk', '+64K'],
      ['amend', '-f', driver, '-o', 'lazy_refcounts=on', 'disk'],
      ['compare', '-f', driver, '-F', driver, 'disk', 'disk'],
    ]) {
      fresh()
      said.push(await img(...words))
    }
    fresh()
    said.push(
      await io(
        driver,
        ['info', 'read 0 64k', 'write 0 4k', 'write -z 0 4k', 'discard 0 64k', 'map', 'truncate 1M'],
        'disk',
      ),
    )
    expect([round, story, said.filter((text) => MACHINERY.test(text))]).toEqual([round, story, []])
  }
  console.log(`counted ${RUNS} images: programs`)
})

describe('what an image names', () => {
  const DATA = 'a-data-file-name-of-40-characters-------'

  /** An image with an external data file of that name. */
  async function withDataFile(name: string, path: string): Promise<void> {
    await img('create', '-q', '-f', 'qcow2', '-o', `data_file=${DATA}`, path, '1M')
    const bytes = readFileSync(path)
    bytes.write(name.padEnd(DATA.length, '/'), bytes.indexOf(DATA))
    writeFileSync(path, bytes)
  }

  test('info opens no data file: not one that is missing, nor a FIFO, which would wait for ever', async () => {
    await withDataFile('missing', 'data.qcow2')
    expect(await img('info', 'data.qcow2')).toMatch(/^image: data\.qcow2\nfile format: qcow2/)
    expect(spawnSync('mkfifo', ['fifo']).status).toBe(0)
    await img('create', '-q', '-f', 'qcow2', '-o', 'data_file=plain', 'fifo.qcow2', '1M')
    const bytes = readFileSync('fifo.qcow2')
    bytes.write('fifo\0', bytes.indexOf('plain'))
    writeFileSync('fifo.qcow2', bytes)
    expect(await img('info', 'fifo.qcow2')).toMatch(/^image: fifo\.qcow2/)
    // A command that does open it reports an error.
    expect(await img('check', 'fifo.qcow2')).toMatch(
      /^qemu-img: Could not open 'fifo\.qcow2': .*regular file/,
    )
  })

  test.each(['json:{"driver":"memory"}', 'nbd:localhost:1', 'file:base', 'memory:'])(
    'the data file %s is a path and nothing else, as in QEMU',
    async (name) => {
      await withDataFile(name, 'data.qcow2')
      const said = await img('map', 'data.qcow2')
      expect(said).toMatch(
        /^qemu-img: Could not open 'data\.qcow2': Could not open '(\.\/)?[a-z]+:.*: No such file/,
      )
      if (!haveQemu) return
      expect(bench.attempt('qemu-img', 'map', 'data.qcow2').stderr).toMatch(/No such file/)
    },
  )

  test.each([
    ['json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}', /read 512\/512/],
    ['file:base.raw', /read 512\/512/],
    ['nbd:127.0.0.1:1', /Unknown protocol 'nbd'|refused/],
  ])('the backing file %s is followed, as in QEMU', async (name, says) => {
    writeFileSync('base.raw', new Uint8Array(2 ** 20))
    await img('create', '-q', '-f', 'qcow2', '-u', '-b', name, '-F', 'raw', 'top.qcow2', '1M')
    expect(await io('qcow2', ['read 0 512'], 'top.qcow2')).toMatch(says)
    expect(await img('info', 'top.qcow2')).toMatch(/^image: top\.qcow2/)
  })

  test('a chain that comes back to itself is refused, by whatever names', async () => {
    mkdirSync('deep', { recursive: true })
    await img('create', '-q', '-f', 'qcow2', '-u', '-b', 'b', '-F', 'qcow2', 'a', '1M')
    await img('create', '-q', '-f', 'qcow2', '-u', '-b', './deep/../again', '-F', 'qcow2', 'b', '1M')
    linkSync('a', 'again')
    expect(await img('map', 'a')).toMatch(/creates an infinite loop\.\n$/)
    expect(await img('check', 'a')).toMatch(/creates an infinite loop\.\n$/)
    expect(await img('info', '--backing-chain', 'a')).toMatch(/^qemu-img: .+\n$/)
    expect(await io('qcow2', ['read 0 512'], 'a')).toMatch(/^qemu-io: can't open device a: /)
  })

  test('a chain of more than 200 images is refused, and one of 200 is not', async () => {
    await img('create', '-q', '-f', 'qcow2', 'n200', '1M')
    for (let i = 0; i < 200; i++)
      await img('create', '-q', '-f', 'qcow2', '-u', '-b', `n${i + 1}`, '-F', 'qcow2', `n${i}`, '1M')
    expect(await img('map', 'n0')).toMatch(/The backing chain is longer than 200 images\n$/)
    expect(await img('map', 'n1')).not.toMatch(/longer/)
  })
})

describe('a disk whose format was guessed to be raw', () => {
  const header = async (): Promise<Uint8Array> => {
    await img('create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', 'evil', '1M')
    return new Uint8Array(readFileSync('evil').subarray(0, 512))
  }

  test('cannot be made another by its guest, in one write or in several, through the library', async () => {
    const evil = await header()
    const file = openMemory(new Uint8Array(65536))
    const open = () => openNode(environment, { file })
    const guest = await open()
    expect(guest.driver.name).toBe('raw')
    await expect(guest.write(0, evil)).rejects.toMatchObject({ code: 'EPERM' })
    await expect(guest.write(0, new Uint8Array([...evil, ...new Uint8Array(5000)]))).rejects.toMatchObject({
      code: 'EPERM',
    })
    // Byte by byte: one of these writes has to be refused.
    const outcomes = await Promise.allSettled(
      [...evil].map((byte, at) => guest.write(at, Uint8Array.of(byte))),
    )
    expect(outcomes.some(({ status }) => status === 'rejected')).toBe(true)
    await guest.close()
    const again = await open()
    expect(again.driver.name).toBe('raw')
    await again.close()
    // With a named format nothing is judged.
    const named = await openNode(environment, { driver: 'raw', file })
    await named.write(0, evil)
    await named.close()
    expect([raw.name, qcow2.name]).toEqual(['raw', 'qcow2'])
  })

  test('nor through qemu-io-ts', async () => {
    await header()
    writeFileSync('pattern', readFileSync('evil').subarray(0, 512))
    writeFileSync('guest.raw', new Uint8Array(65536))
    const services = { readFile: async (path: string) => new Uint8Array(readFileSync(path)) }
    const write = (...more: string[]) =>
      runMain(['-c', `write -s ${join(bench.directory, 'pattern')} 0 512`, ...more, 'guest.raw'], {
        services,
      })
    expect((await write()).merged).toContain('write failed: Operation not permitted')
    truncateSync('guest.raw', 65536)
    expect(await img('info', 'guest.raw')).toContain('file format: raw')
    expect((await write('-f', 'raw')).merged).toContain('wrote 512/512')
  })
})
