/** `compact` as a command: what it prints, and what QEMU finds in the image afterwards. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison, runOurs } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

describe.skipIf(!installed)('compact', () => {
  it('makes the file shorter, and says by how much', async () => {
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', 'a', '16M'])
    const io = (...commands: string[]) =>
      execFileSync('qemu-io', [
        '-d',
        'unmap',
        '-f',
        'qcow2',
        ...commands.flatMap((each) => ['-c', each]),
        'a',
      ])
    io('write -P 1 0 8M')
    execFileSync('qemu-img', ['snapshot', '-c', 's', 'a'])
    io('write -P 2 0 4M', 'write -P 3 8M 1M', 'discard 0 4M')
    const before = fs.statSync('a').size
    expect(await runOurs(['compact', '-p', 'a'])).toEqual({
      out: expect.stringMatching(
        /^ {4}\(0\.00\/100%\)\r {4}\(100\.00\/100%\)\r\nImage compacted: 1 MiB moved, the file is 4 MiB shorter \([\d.]+ MiB\)\.\n$/,
      ),
      err: '',
      status: 0,
    })
    expect(fs.statSync('a').size).toBeLessThan(before - 3 * 2 ** 20)
    expect(execFileSync('qemu-img', ['check', 'a'], { encoding: 'utf8' })).toContain('No errors were found')
    expect(await runOurs(['compact', 'a'])).toMatchObject({
      out: expect.stringMatching(/^Image compacted: 0 B moved, the file is not shorter/),
      status: 0,
    })
    expect(await runOurs(['compact', '-q', 'a'])).toEqual({ out: '', err: '', status: 0 })
  })

  it('refuses what it cannot do', async () => {
    await sayTheSame(['made: create -q a.raw 1M'])
    fs.writeFileSync('a.raw', new Uint8Array(1024))
    expect(await runOurs(['compact'])).toMatchObject({ status: 1 })
    expect(await runOurs(['compact', '-f', 'raw', 'a.raw'])).toEqual({
      out: '',
      err: "qemu-img: Format driver 'raw' does not support compacting\n",
      status: 1,
    })
  })
})
