/** Two processes and one image: ours and QEMU's exclude each other exactly as two of QEMU's do. */
import { systemCalls } from '@vmblock/block-core/node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'
import {
  attempt,
  buildPrograms,
  hold,
  lockedBytes,
  type OurPrograms,
  REAL,
  type Start,
} from './src/held-program.ts'

const workshop = openBench()
const { directory } = workshop
let ours: OurPrograms
let lockless: OurPrograms
const PARTIES = ['real', 'ours'] as const
const program = (party: (typeof PARTIES)[number]): OurPrograms => (party === 'real' ? REAL : ours)

const FILES = ['r.raw', 'b.raw', 'q.qcow2', 'over.qcow2', 'top.qcow2', 'e.qed', 'd.qcow2', 'd.raw']

beforeAll(async () => {
  ours = await buildPrograms(directory, systemCalls.locks !== undefined)
  lockless = await buildPrograms(directory, false)
  if (!haveQemu) return
  const make = (...args: string[]): void => void workshop.run('qemu-img', 'create', '-q', ...args)
  make('-f', 'raw', 'r.raw', '1M')
  make('-f', 'raw', 'b.raw', '1M')
  make('-f', 'qcow2', 'q.qcow2', '1M')
  make('-f', 'qcow2', '-b', 'b.raw', '-F', 'raw', 'over.qcow2')
  make('-f', 'qcow2', '-b', 'q.qcow2', '-F', 'qcow2', 'top.qcow2')
  make('-f', 'qed', 'e.qed', '1M')
  make('-f', 'qcow2', '-o', 'data_file=d.raw,data_file_raw=on', 'd.qcow2', '1M')
})
afterAll(() => workshop.remove())

const canLock = haveQemu && process.platform === 'linux' && systemCalls.locks !== undefined

const heldBytes = (): Record<string, number[]> =>
  Object.fromEntries(
    FILES.map((name) => [name, lockedBytes(workshop.path(name))] as const).filter(
      ([, bytes]) => bytes.length > 0,
    ),
  )

const image = (options: string): string[] => ['--image-opts', options]

/** Command lines of qemu-io, and commands given to it. */
const SCENES: readonly { readonly args: readonly string[]; readonly commands?: readonly string[] }[] = [
  { args: ['-f', 'raw', 'r.raw'] },
  { args: ['-r', '-f', 'raw', 'r.raw'] },
  { args: ['-r', '-U', '-f', 'raw', 'r.raw'] },
  { args: ['-f', 'raw', 'r.raw'], commands: ['truncate 1M'] },
  { args: ['-f', 'raw', 'r.raw'], commands: ['truncate 1M', 'reopen -r'] },
  { args: ['-f', 'qcow2', 'q.qcow2'] },
  { args: ['-r', '-f', 'qcow2', 'q.qcow2'] },
  { args: ['-r', '-U', '-f', 'qcow2', 'q.qcow2'] },
  { args: ['-f', 'qcow2', 'q.qcow2'], commands: ['reopen -r'] },
  { args: ['-r', '-f', 'qcow2', 'q.qcow2'], commands: ['reopen -w'] },
  { args: ['-f', 'qcow2', 'q.qcow2'], commands: ['reopen -c none', 'reopen -c writeback'] },
  { args: ['-f', 'qcow2', 'over.qcow2'] },
  { args: ['-r', '-f', 'qcow2', 'over.qcow2'] },
  { args: ['-f', 'qcow2', 'top.qcow2'] },
  { args: ['-r', '-f', 'qcow2', 'top.qcow2'] },
  { args: ['-f', 'qed', 'e.qed'] },
  { args: ['-f', 'qcow2', 'd.qcow2'] },
  { args: ['-r', '-f', 'qcow2', 'd.qcow2'] },
  { args: image('driver=raw,offset=0,size=512k,file.filename=r.raw') },
  { args: image('driver=file,filename=r.raw') },
  { args: image('driver=qcow2,file.filename=q.qcow2,file.locking=off') },
  { args: image('driver=qcow2,file.driver=file,file.filename=q.qcow2,file.locking=on') },
  { args: image('driver=blkdebug,image.driver=qcow2,image.file.filename=q.qcow2') },
  { args: image('driver=qcow2,file.driver=blkdebug,file.image.filename=q.qcow2') },
  { args: image('driver=copy-on-read,file.driver=qcow2,file.file.filename=top.qcow2') },
  { args: image('driver=copy-on-read,file.driver=raw,file.file.filename=r.raw') },
]

describe.skipIf(!canLock)('the locked bytes are those that QEMU locks', () => {
  test.each(
    SCENES.map((scene) => ({ ...scene, title: [...scene.args, ...(scene.commands ?? [])].join(' ') })),
  )('qemu-io $title', async ({ args, commands = [] }) => {
    const seen = async (start: Start): Promise<Record<string, number[]>> => {
      const held = await hold(start, args, directory)
      for (const line of commands) await held.command(line)
      const bytes = heldBytes()
      await held.end()
      return bytes
    }
    expect(await seen(ours.io)).toEqual(await seen(REAL.io))
    expect(heldBytes()).toEqual({})
  })
})

/** An attempt to use an image: a program and its arguments. */
type Wish = readonly ['io' | 'img', ...string[]]

const RAW: readonly Wish[] = [
  ['io', '-f', 'raw', '-c', 'read 0 512', 'r.raw'],
  ['io', '-r', '-f', 'raw', '-c', 'read 0 512', 'r.raw'],
  ['img', 'create', '-q', '-f', 'raw', 'r.raw', '1M'],
]

const QCOW2: readonly Wish[] = [
  ['io', '-f', 'raw', '-c', 'read 0 512', 'q.qcow2'],
  ['io', '-f', 'qcow2', '-c', 'read 0 512', 'q.qcow2'],
  ['io', '-r', '-f', 'qcow2', '-c', 'read 0 512', 'q.qcow2'],
  ['io', '-r', '-U', '-f', 'qcow2', '-c', 'read 0 512', 'q.qcow2'],
  ['io', '-f', 'qcow2', '-c', 'read 0 512', 'top.qcow2'],
  ['img', 'info', '-f', 'qcow2', 'q.qcow2'],
  ['img', 'resize', '-q', '-f', 'qcow2', 'q.qcow2', '1M'],
  ['img', 'create', '-q', '-f', 'qcow2', 'q.qcow2', '1M'],
]

/** What the other program does meanwhile. */
const HOLDS: readonly (readonly [what: string, args: readonly string[], wishes: readonly Wish[]])[] = [
  ['writes raw', ['-f', 'raw', 'r.raw'], RAW],
  ['reads raw', ['-r', '-f', 'raw', 'r.raw'], RAW],
  ['writes qcow2', ['-f', 'qcow2', 'q.qcow2'], QCOW2],
  ['reads qcow2', ['-r', '-f', 'qcow2', 'q.qcow2'], QCOW2],
  ['reads qcow2, and minds no other program', ['-r', '-U', '-f', 'qcow2', 'q.qcow2'], QCOW2],
]

describe.skipIf(!canLock).each(HOLDS)('while a program %s', (_, args, wishes) => {
  test('others may, or may not, as beside QEMU, and in its words', async () => {
    const outcomes: Record<string, unknown[]> = {}
    for (const holder of PARTIES) {
      for (const party of PARTIES) {
        const held = await hold(program(holder).io, args, directory)
        outcomes[`${party} beside ${holder}`] = wishes.map(([which, ...words]) => ({
          words: words.join(' '),
          ...attempt(program(party)[which], words, directory),
        }))
        await held.end()
      }
    }
    const { 'real beside real': expected, ...others } = outcomes
    for (const [program, outcome] of Object.entries(others)) expect(outcome, program).toEqual(expected)
  })
})

describe.skipIf(!canLock).each(PARTIES.flatMap((holder) => PARTIES.map((party) => [party, holder] as const)))(
  'a reopen of %s beside %s',
  (party, holder) => {
    test('gets the right to write when no other program reads, and gives it up', async () => {
      const one = await hold(program(party).io, ['-r', '-f', 'qcow2', 'q.qcow2'], directory)
      const other = await hold(program(holder).io, ['-r', '-f', 'qcow2', 'q.qcow2'], directory)
      const both = [100, 201, 203]
      const refusal = /Failed to get "write" lock\nIs another process using the image \[q\.qcow2\]\?\n/
      expect(await one.command('reopen -w')).toMatch(refusal)
      expect(lockedBytes(workshop.path('q.qcow2'))).toEqual(both)
      expect(await one.command('write 0 512')).not.toContain('wrote')
      await other.end()
      expect(await one.command('reopen -w')).toBe('')
      expect(await one.command('write 0 512')).toContain('wrote 512/512')
      const reader = ['-r', '-f', 'qcow2', '-c', 'read 0 512', 'q.qcow2']
      expect(attempt(program(holder).io, reader, directory).complaint).toMatch(
        /Failed to get shared "write" lock/,
      )
      expect(await one.command('reopen -r')).toBe('')
      expect(attempt(program(holder).io, reader, directory)).toEqual({ status: 0, complaint: '' })
      await one.end()
    })

    test('a process that is killed holds nothing', async () => {
      const one = await hold(program(party).io, ['-f', 'qcow2', 'q.qcow2'], directory)
      const writer = ['-f', 'qcow2', '-c', 'write 0 512', 'q.qcow2']
      expect(attempt(program(holder).io, writer, directory).complaint).toContain('Failed to get "write" lock')
      await one.kill()
      expect(attempt(program(holder).io, writer, directory)).toEqual({ status: 0, complaint: '' })
    })
  },
)

describe.skipIf(!haveQemu)('without locks of the host', () => {
  const of = (locking: string): string[] =>
    image(`driver=qcow2,file.driver=file,file.filename=q.qcow2,file.locking=${locking}`)

  test('QEMU is not seen: locking=auto goes on, and locking=on is refused', async () => {
    const held = await hold(REAL.io, ['-f', 'qcow2', 'q.qcow2'], directory)
    const read = ['-r', '-c', 'read 0 512']
    const outcome = (locking: string) => attempt(lockless.io, [...read, ...of(locking)], directory)
    expect(outcome('auto')).toEqual({ status: 0, complaint: '' })
    expect(outcome('off')).toEqual({ status: 0, complaint: '' })
    expect(outcome('on')).toMatchObject({ status: 1 })
    expect(outcome('on').complaint).toContain('koffi is not installed')
    await held.end()
  })

  test('that is said by the first image that is opened for writing, unless it is turned off', () => {
    const write = ['-c', 'write 0 512', '-c', 'reopen -r', '-c', 'reopen -w', '-c', 'write 0 512']
    const { status, complaint } = attempt(lockless.io, [...write, ...of('auto')], directory)
    expect(status).toBe(0)
    expect(complaint.split('\n')).toHaveLength(2)
    expect(complaint).toMatch(/^warning: .*QEMU neither sees these locks nor are its own seen/)
    expect(attempt(lockless.io, [...write, ...of('off')], directory)).toEqual({ status: 0, complaint: '' })
    const silent: Start = ['env', 'VMBLOCK_LOCK_WARNING=off', ...lockless.io]
    expect(attempt(silent, [...write, ...of('auto')], directory)).toEqual({ status: 0, complaint: '' })
  })

  /** All processes are ours, and without the operating system's locks. */
  test.each(HOLDS)(
    'processes of ours keep each other out as QEMU does: while one %s',
    async (_, args, wishes) => {
      const outcomes = async (io: Start, img: Start): Promise<unknown[]> => {
        const held = await hold(io, args, directory)
        const results = wishes.map(([which, ...words]) => {
          const { status, complaint } = attempt(which === 'io' ? io : img, words, directory)
          return {
            words: words.join(' '),
            status,
            complaint: complaint.replace(/^warning: images are locked.*\n/m, ''),
          }
        })
        await held.end()
        return results
      }
      expect(await outcomes(lockless.io, lockless.img)).toEqual(await outcomes(REAL.io, REAL.img))
    },
  )

  test('a process that is killed holds nothing', async () => {
    const one = await hold(lockless.io, ['-f', 'qcow2', 'q.qcow2'], directory)
    const writer = ['-f', 'qcow2', '-c', 'write 0 512', 'q.qcow2']
    expect(attempt(lockless.io, writer, directory).complaint).toContain('Failed to get "write" lock')
    await one.kill()
    expect(attempt(lockless.io, writer, directory).status).toBe(0)
  })
})
