/** The program as a process: built as it is shipped, started, and interrupted. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildProgram } from '../../../tests/support/built-program.ts'

const MIB = 2 ** 20

const directory = mkdtempSync(join(tmpdir(), 'qemu-img-ts-bin-'))
const pathOf = (name: string): string => join(directory, name)

beforeAll(async () => {
  writeFileSync(pathOf('package.json'), '{ "type": "module" }')
  await buildProgram('qemu-img-ts', directory)
  writeFileSync(pathOf('a.raw'), new Uint8Array(16 * MIB).fill(7))
})
afterAll(() => rmSync(directory, { recursive: true }))

const run = (...argv: string[]) =>
  spawnSync(process.execPath, [pathOf('bin.cjs'), ...argv], { cwd: directory, encoding: 'utf8' })

interface Started {
  readonly child: ChildProcess
  out(): string
  err(): string
  /** Resolves with the status or the signal. */
  readonly ended: Promise<number | string | null>
}

function start(...argv: string[]): Started {
  const child = spawn(process.execPath, [pathOf('bin.cjs'), ...argv], { cwd: directory })
  const [out, err]: [string[], string[]] = [[], []]
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk.toString()))
  const ended = new Promise<number | string | null>((resolve) =>
    child.on('close', (status, signal) => resolve(signal ?? status)),
  )
  return { child, out: () => out.join(''), err: () => err.join(''), ended }
}

/** Lets the event loop turn until a condition holds. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await nextTurn()
}

const COPY = ['convert', '-f', 'raw', '-O', 'qcow2']

describe('the process', () => {
  it('keeps the compiled code of each subcommand, and nothing for what is none', () => {
    const kept = (): string[] =>
      readdirSync(directory).flatMap((name) => /^program\.cjs\.(\w+)\.v.*\.cache$/.exec(name)?.[1] ?? [])
    expect(run('info', 'a.raw').status).toBe(0)
    expect(run('foo').status).toBe(1)
    expect(kept()).toEqual(['info'])
    expect(run('compare', 'a.raw', 'a.raw').status).toBe(0)
    expect(run('--version').status).toBe(0)
    expect(kept().sort()).toEqual(['compare', 'info', 'none'])
    expect(run('info', 'a.raw').stdout).toContain('file format: raw')
  })

  it('copies, and leaves the same bytes', () => {
    expect(run(...COPY, 'a.raw', 'b.qcow2')).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(run('convert', 'b.qcow2', 'c.raw')).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(readFileSync(pathOf('c.raw')).equals(readFileSync(pathOf('a.raw')))).toBe(true)
  })

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'ends in order when %s asks for it, and as if killed',
    async (signal) => {
      // So slow that it would not end during the test.
      const { child, out, err, ended } = start(...COPY, '-p', '-m', '1', '-r', '1', 'a.raw', 'd.qcow2')
      await until(() => out().includes('25.00'))
      child.kill(signal)
      expect(await ended).toBe(signal)
      expect(out()).toMatch(/\r {4}\(25\.00\/100%\)\r\n$/)
      expect(err()).toBe('')
      // The first piece is in the image, which was closed properly.
      expect(run('check', 'd.qcow2')).toMatchObject({ status: 0 })
      expect(run('map', 'd.qcow2').stdout).toMatch(/^0 +0x200000 /m)
    },
  )

  it('says how far it is when SIGUSR1 asks', async () => {
    const { child, err, ended } = start(...COPY, '-m', '1', '-r', '40M', 'a.raw', 'e.qcow2')
    // Once the target exists, the program handles the signal.
    await until(() => existsSync(pathOf('e.qcow2')) && statSync(pathOf('e.qcow2')).size > 0)
    child.kill('SIGUSR1')
    expect(await ended).toBe(0)
    expect(err()).toMatch(/^ {4}\(\d+\.\d\d\/100%\)\n$/)
  })
})
