/** The spellings of options: all of one option mean the same, those of QEMU 7.2 keep their meaning. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DriverRegistry } from '@vmblock/block-core'
import { type OptionKind, Output } from '@vmblock/cli'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { commands } from './commands/index.ts'
import { type AnyCommand, COMMON_OPTIONS, parseCommand } from './kit/command.ts'
import { hasQemu, runOurs } from './testing/two-programs.ts'

/** Values where 1 makes no sense. */
const VALUES: Readonly<Record<string, string>> = { sparse: '512', object: 'secret,id=a,data=b' }

/** A value that the option takes; undefined if it has none. */
function sampleOf(key: string, { argument, values }: OptionKind<unknown>): string | undefined {
  if (argument === undefined) return undefined
  if (VALUES[key] !== undefined) return VALUES[key]
  return values === 'format' ? 'raw' : values === 'file' ? 'name' : (values?.[0] ?? '1')
}

const output = new Output('qemu-img', { print() {}, error() {}, flush() {} })

/** What a command line means; actions of `bitmap` are numbered, which is not compared. */
async function parsed(command: AnyCommand, words: readonly string[]): Promise<string> {
  const result = await parseCommand(command, [...words, 'operand'], output, {
    registry: new DriverRegistry([]),
  })
  return JSON.stringify(
    result && { ...result, secrets: [...result.secrets.keys()] },
    (key, value: unknown) => (key === 'order' ? undefined : typeof value === 'bigint' ? `${value}n` : value),
  )
}

const all = await Promise.all(Object.values(commands).map((load) => load()))

/** The options of a command, those that all have among them. */
const optionsOf = (command: AnyCommand): [string, OptionKind<unknown>][] =>
  Object.entries({ ...(command.options as Record<string, OptionKind<unknown>>), ...COMMON_OPTIONS })

/** All letters and words of an option, with their dashes. */
const spellingsOf = ({ short, long, newer = [] }: OptionKind<unknown>): readonly string[] =>
  [short, long, ...newer]
    .filter((spelling) => spelling !== undefined)
    .map((spelling) => (spelling.length === 1 ? `-${spelling}` : `--${spelling}`))

/** The ways to write an option with a value, or one without. */
const writings = (spelling: string, value: string | undefined): readonly (readonly string[])[] => {
  if (value === undefined) return [[spelling]]
  const joined = spelling.startsWith('--') ? `${spelling}=${value}` : `${spelling}${value}`
  return [[spelling, value], [joined]]
}

describe.each(all.map((command) => [command.name, command] as const))('%s', (_, command) => {
  it('explains every option and operand', () => {
    for (const [key, { help }] of optionsOf(command)) expect([key, help]).toEqual([key, expect.any(String)])
    for (const operand of Object.keys(command.operandHelp ?? {})) expect(command.operands).toContain(operand)
  })

  it('spells no two options alike', () => {
    const spellings = optionsOf(command).flatMap(([, kind]) => spellingsOf(kind))
    expect([...new Set(spellings)]).toEqual(spellings)
  })

  it('takes all spellings of an option for the same', async () => {
    for (const [key, kind] of optionsOf(command)) {
      const value = sampleOf(key, kind)
      const [first, ...others] = spellingsOf(kind).flatMap((spelling) => writings(spelling, value))
      const expected = await parsed(command, first!)
      if (key !== 'help') expect(expected).toMatch(key === 'object' ? /"secrets":\["a"\]/ : `"${key}":`)
      for (const words of others) expect([words, await parsed(command, words)]).toEqual([words, expected])
    }
  })

  it('takes abbreviations of the words of QEMU 7.2, whatever later words begin alike', async () => {
    const words = optionsOf(command).flatMap(([, { long }]) => long ?? [])
    for (const [key, kind] of optionsOf(command)) {
      if (kind.long === undefined) continue
      const value = sampleOf(key, kind)
      const expected = await parsed(command, writings(`--${kind.long}`, value)[0]!)
      for (let length = 1; length < kind.long.length; length++) {
        const start = kind.long.slice(0, length)
        if (words.filter((word) => word.startsWith(start)).length > 1) continue
        const short = writings(`--${start}`, value)[0]!
        expect([short, await parsed(command, short)]).toEqual([short, expected])
      }
    }
  })
})

/** Commands and options that QEMU 7.2 does not have. */
const OURS = ['compact', 'completion', 'check --findings', 'bench --object']

describe.skipIf(!hasQemu())('QEMU 7.2', () => {
  it('has the words that are in the tables as its own, and none of the later ones', {
    timeout: 300_000,
  }, () => {
    const refuses = (command: string, word: string): boolean =>
      spawnSync('qemu-img', [command, word, 'x', '1'], { cwd: tmpdir(), encoding: 'utf8' }).stderr.includes(
        `unrecognized option '${word}'`,
      )
    for (const command of all.filter(({ name }) => !OURS.includes(name)))
      for (const [, { long, newer = [] }] of optionsOf(command)) {
        const word = `--${long}`
        if (long !== undefined && !OURS.includes(`${command.name} ${word}`))
          expect([command.name, word, refuses(command.name, word)]).toEqual([command.name, word, false])
        for (const later of newer.filter(({ length }) => length > 1))
          expect([command.name, later, refuses(command.name, `--${later}`)]).toEqual([
            command.name,
            later,
            true,
          ])
      }
  })
})

let directory: string
const before = process.cwd()
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-spellings-'))
})
afterEach(() => {
  process.chdir(before)
  rmSync(directory, { recursive: true, force: true })
})

/** Command lines as for QEMU 7.2, and the same for 10.1 and later. */
const LINES: readonly (readonly [older: string, newer: string])[] = [
  ['create -q -f qcow2 a 3M', 'create --quiet --format qcow2 a 3M'],
  ['create -f qcow2 -b a -F qcow2 b', 'create --format qcow2 --backing a --backing-format qcow2 b'],
  ['create -f qcow2 -b a -F qcow2 -u c 3M', 'create -f qcow2 -b a -B qcow2 --backing-unsafe c 3M'],
  ['create -f qcow2 -o cluster_size=4k d 1M', 'create -f qcow2 --options cluster_size=4k d 1M'],
  [
    'bench -q -w -c 40 -s 8k -S 64k -d 2 --pattern 7 a',
    'bench --quiet --write --count 40 --buffer-size 8k --step-size 64k --depth 2 --pattern 7 a',
  ],
  [
    'bench -c 9 -o 1M -t none -i sync -f qcow2 a',
    'bench --count 9 --offset 1M --cache none --aio sync --format qcow2 a',
  ],
  ['check -q -T none a', 'check --quiet --cache none a'],
  ['snapshot -c one a', 'snapshot --create one --format qcow2 a'],
  ['snapshot -q -c two a', 'snapshot --quiet --create two a'],
  ['snapshot -U -l a', 'snapshot --force-share --list a'],
  ['snapshot -l a', 'snapshot a'],
  ['snapshot -a one a', 'snapshot --apply one a'],
  ['snapshot -d two a', 'snapshot --delete two a'],
  [
    'convert -q -p -f qcow2 -O qcow2 -l one -c -S 8k -m 1 a e',
    'convert --quiet --progress --source-format qcow2 --target-format qcow2 --snapshot one --compress --sparse-size 8k --parallel 1 a e',
  ],
  [
    'convert -O qcow2 -B a -F qcow2 -o cluster_size=4k -t writeback -T none b f',
    'convert --target-format qcow2 -b a --backing-format qcow2 --target-format-options cluster_size=4k --target-cache writeback --source-cache none b f',
  ],
  ['convert -O qcow2 -B a -F qcow2 b g', 'convert --target-format qcow2 --backing a -F qcow2 b g'],
  ['convert -W -m 3 -O raw a h', 'convert --oob-writes --parallel 3 --target-format raw a h'],
  [
    'convert -n -C -r 1G -O qcow2 a f',
    'convert --no-create --copy-range-offloading --rate-limit 1G --target-format qcow2 a f',
  ],
  [
    'compare -s -p -q -T none -f qcow2 -F qcow2 a a',
    'compare --strict --progress --quiet --cache none --a-format qcow2 --b-format qcow2 a a',
  ],
  ['bitmap -f qcow2 --add -g 64k a m', 'bitmap --format qcow2 --add --granularity 64k a m'],
  [
    'bitmap --add --merge m -b a -F qcow2 b n',
    'bitmap --add --merge m --source-file a --source-format qcow2 b n',
  ],
  ['info a', 'info --cache writeback a'],
  ['info --output=json -f qcow2 a', 'info --output json --format qcow2 -t none a'],
  ['map -s 1M -l 1M a', 'map --start-offset 1M --max-length 1M a'],
  [
    'measure -f qcow2 -l one -O qcow2 -o cluster_size=4k a',
    'measure --source-format qcow2 --snapshot one --target-format qcow2 --target-format-options cluster_size=4k a',
  ],
  ['measure -O qcow2 --size 1G', 'measure --target-format qcow2 -s 1G'],
  [
    'measure --image-opts driver=qcow2,file.filename=a',
    'measure --source-image-opts driver=qcow2,file.filename=a',
  ],
  ['resize -q -f qcow2 d 2M', 'resize --quiet --format qcow2 d 2M'],
  [
    'amend -q -p -f qcow2 -t none -o lazy_refcounts=on d',
    'amend --quiet --progress --format qcow2 --cache none --options lazy_refcounts=on d',
  ],
  [
    'commit -p -f qcow2 -t none -r 1G -d b',
    'commit --progress --format qcow2 --cache none --rate-limit 1G --drop b',
  ],
  ['commit -q -b a b', 'commit --quiet --base a b'],
  ['compact -p -f qcow2 a', 'compact --progress --format qcow2 a'],
]

/** Times differ: those that a benchmark measured, and those at which snapshots were made. */
const timeless = (text: string): string =>
  text
    .replaceAll(/\d+\.\d{3} seconds/g, 'X')
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|"date-n?sec": \d+|^disk size: .*/gm, 'X')
    .replaceAll(/"actual-size": \d+/g, 'X')

describe('a run', () => {
  it('is the same in both spellings, and makes the same images', { timeout: 300_000 }, async () => {
    const printed: Record<string, [line: string, said: string][]> = { older: [], newer: [] }
    for (const [at, name] of ['older', 'newer'].entries()) {
      mkdirSync(join(directory, name))
      process.chdir(join(directory, name))
      for (const pair of LINES) {
        const said = await runOurs(pair[at]!.split(' '))
        printed[name]!.push([pair[0], JSON.stringify([said.status, timeless(said.out), said.err])])
      }
    }
    expect(printed['newer']).toEqual(printed['older'])
    expect(printed['older']!.filter(([, said]) => !said.startsWith('[0')).map(([line]) => line)).toEqual([])
    const names = readdirSync(join(directory, 'older'))
    expect(readdirSync(join(directory, 'newer'))).toEqual(names)
    // Snapshots carry the time at which they were made.
    for (const name of names.filter((each) => each !== 'a'))
      expect([
        name,
        readFileSync(join(directory, 'newer', name)).equals(readFileSync(join(directory, 'older', name))),
      ]).toEqual([name, true])
    expect(
      (await runOurs(['compare', '-s', join(directory, 'older/a'), join(directory, 'newer/a')])).out,
    ).toMatch('identical')
  })

  it('removes all bitmaps at once', async () => {
    process.chdir(directory)
    await runOurs(['create', '-q', '-f', 'qcow2', 'a', '1M'])
    for (const name of ['one', 'two']) expect((await runOurs(['bitmap', '--add', 'a', name])).status).toBe(0)
    expect((await runOurs(['info', 'a'])).out).toContain('name: two')
    expect(await runOurs(['bitmap', '--remove-all', 'a'])).toEqual({ status: 0, out: '', err: '' })
    expect((await runOurs(['info', 'a'])).out).not.toContain('bitmaps')
    expect(await runOurs(['bitmap', '--remove-all', '--add', 'a', 'three'])).toMatchObject({ status: 0 })
    expect(await runOurs(['bitmap', '--remove-all', '--clear', 'a'])).toMatchObject({
      status: 1,
      err: 'qemu-img: Expecting filename and bitmap name\n',
    })
    expect(await runOurs(['bitmap', '--remove-all'])).toMatchObject({
      status: 1,
      err: 'qemu-img: Expecting filename\n',
    })
  })

  it('tells the limits of an image, which depend on its cache mode', async () => {
    process.chdir(directory)
    await runOurs(['create', '-q', '-f', 'qcow2', 'a', '1M'])
    const limits = async (...words: string[]) =>
      (
        JSON.parse((await runOurs(['info', '--output=json', '--limits', ...words, 'a'])).out) as {
          limits: object
        }
      ).limits
    expect(await limits()).toEqual({
      'request-alignment': 1,
      'write-zeroes-alignment': 65536,
      'discard-alignment': 65536,
      'max-iov': 1,
      'min-mem-alignment': 1,
      'opt-mem-alignment': 4096,
    })
    expect(await limits('-t', 'unsafe')).toEqual(await limits())
    expect((await runOurs(['info', '--limits', 'a'])).out).toMatch(
      /\nBlock limits:\n(?: {4}.*\n)* {4}write zeroes alignment: 65536\n/,
    )
    expect((await runOurs(['info', 'a'])).out).not.toContain('limits')
    expect(await runOurs(['info', '-t', 'nonsense', 'a'])).toMatchObject({
      status: 1,
      err: 'qemu-img: Invalid cache option: nonsense\n',
    })
  })
})
