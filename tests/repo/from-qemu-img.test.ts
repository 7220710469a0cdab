/** The table of docs/from-qemu-img.md: its command lines run, and its calls compile. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { buildProgram } from '../support/built-program.ts'
import { textOf } from '../support/doc-blocks.ts'
import { problemsOf } from './src/guide.ts'

/** The rows: a command line of qemu-img without its name, and what stands for it. */
const rows = [...textOf('docs/from-qemu-img.md').matchAll(/^\| `([^`]+)` \| (.*) \|$/gm)]
  .map(([, command, cell]) => ({ command: command!, call: /^`([^`]+)`/.exec(cell!)?.[1] }))
  .filter(({ command }) => !command.startsWith('qemu-img'))

test('there are rows, and every one with a call is a command line', () => {
  expect(rows.filter(({ call }) => call !== undefined).length).toBeGreaterThan(15)
})

test('the command lines run, one after the other', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-commands-'))
  try {
    const program = await buildProgram('qemu-img-ts', join(directory, 'program'))
    const run = (command: string): unknown => {
      const { status, stderr } = spawnSync(process.execPath, [program, ...command.split(' ')], {
        cwd: directory,
        encoding: 'utf8',
      })
      return { command, status, stderr }
    }
    run('create -f qcow2 base.qcow2 1G')
    const commands = rows.filter(({ command, call }) => call !== undefined && !command.startsWith('dd '))
    for (const { command } of commands)
      expect(run(command)).toEqual({ command, status: 0, stderr: expect.any(String) })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

test('the calls compile', { timeout: 120_000 }, () => {
  const calls = rows.flatMap(({ call }) =>
    call === undefined ? [] : [call.startsWith('for ') ? `${call} void extent` : `await ${call}`],
  )
  const source = `import { check, convert, create, info, measure, type Progress, type VirtualDisk } from 'vmblock'
declare const disk: VirtualDisk
declare const onProgress: (progress: Progress) => void
${calls.join('\n')}
`
  expect(problemsOf({ 'docs/from-qemu-img.ts': source })).toEqual([])
})
