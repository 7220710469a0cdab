/** The program as a process: built as it is shipped, and started. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildProgram } from '../../../tests/support/built-program.ts'

const directory = mkdtempSync(join(tmpdir(), 'qemu-io-ts-bin-'))
const MEMORY = ['--image-opts', 'driver=memory,size=1M']

beforeAll(async () => {
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  await buildProgram('qemu-io-ts', directory)
})
afterAll(() => rmSync(directory, { recursive: true }))

const run = (argv: readonly string[], input = '', env: Record<string, string> = {}) =>
  spawnSync(process.execPath, [join(directory, 'bin.cjs'), ...argv], {
    input,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })

const start = (argv: readonly string[]): ChildProcess =>
  spawn(process.execPath, [join(directory, 'bin.cjs'), ...argv], { stdio: ['pipe', 'pipe', 'inherit'] })

/** Resolves when the process has printed `text`. */
function printed(child: ChildProcess, text: string | RegExp): Promise<void> {
  return new Promise((resolve) => {
    let seen = ''
    const listen = (chunk: Buffer): void => {
      seen += chunk.toString()
      if (typeof text === 'string' ? !seen.includes(text) : !text.test(seen)) return
      child.stdout!.off('data', listen)
      resolve()
    }
    child.stdout!.on('data', listen)
  })
}

describe('the process', () => {
  it('says what it is, and keeps its compiled code for the next start', () => {
    expect(run(['--version'])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^qemu-io-ts version /),
    })
    expect(readdirSync(directory).filter((name) => name.endsWith('.cache'))).toHaveLength(1)
    expect(run(['--version']).status).toBe(0)
  })

  it('starts without the large modules of Node.js that it does not need', () => {
    const watch = join(directory, 'watch.cjs')
    writeFileSync(watch, "process.on('exit', () => console.log(process.moduleLoadList.join()))")
    const { stdout } = spawnSync(
      process.execPath,
      ['-r', watch, join(directory, 'bin.cjs'), '-c', 'length', ...MEMORY],
      {
        encoding: 'utf8',
      },
    )
    expect(stdout).toContain('1 MiB')
    expect(stdout).toContain('NativeModule fs')
    for (const name of ['crypto', 'module', 'readline', 'worker_threads', 'zlib'])
      expect(stdout.split(/[\n,]/)).not.toContain(`NativeModule ${name}`)
  })

  it('takes no more of a file than a write needs, though it has no end', () => {
    expect(run(['-c', 'write -s /dev/zero 1 65536', '-c', 'read -P 0 0 65537', ...MEMORY]).status).toBe(0)
    const endless = run(['-c', 'write -s /dev/urandom 0 5k', '-c', 'read -v 4096 16', ...MEMORY])
    expect(endless.status).toBe(0)
    // What is behind the first piece comes from the file, too.
    expect(endless.stdout).not.toContain('00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00')
    const pieces = run(['-c', 'write -s /dev/zero 0 3M', '--image-opts', 'driver=memory,size=4M'])
    expect(pieces.stdout).toContain('wrote 3145728/3145728 bytes')
  })

  it('shows its usage on standard output, with the status of a mistake', () => {
    const { status, stdout, stderr } = run(['-x'])
    expect(status).toBe(1)
    expect(stdout).toMatch(/^Usage: qemu-io /)
    expect(stderr).toBe("qemu-io: invalid option -- 'x'\n")
    expect(run(['--help'])).toMatchObject({ status: 0, stdout })
  })

  it('dies of abort, with an image and without, after what it printed', () => {
    expect(run(['-c', 'length', '-c', 'abort', '-c', 'length', ...MEMORY])).toMatchObject({
      signal: 'SIGABRT',
      stdout: '1 MiB\n',
      stderr: '',
    })
    expect(run(['-c', 'abort'])).toMatchObject({ signal: 'SIGABRT', stdout: '', stderr: '' })
  })

  it('raises signals by number; those that it handles change nothing', () => {
    expect(run(['-c', 'length', '-c', 'sigraise 9', ...MEMORY])).toMatchObject({
      signal: 'SIGKILL',
      stdout: '1 MiB\n',
    })
    expect(run(['-c', 'sigraise 15'])).toMatchObject({ signal: 'SIGTERM' })
    const handled = ['0', '10', '13', '14', '17', '28', '32', '65'].flatMap((signal) => [
      '-c',
      `sigraise ${signal}`,
    ])
    expect(run([...handled, '-c', 'length', ...MEMORY])).toMatchObject({ status: 0, stdout: '1 MiB\n' })
  })

  it('reads commands from a pipe, each answered before the next one is read', async () => {
    const child = start(MEMORY)
    const ended = new Promise((resolve) => child.on('exit', (status) => resolve(status)))
    await printed(child, 'qemu-io> ')
    for (let i = 0; i < 3; i++) {
      const answer = printed(child, '1 MiB\nqemu-io> ')
      child.stdin!.write('length\n')
      await answer
    }
    child.stdin!.end('foo bar')
    expect(await ended).toBe(1)
  })

  it('says its errors without a stack trace', () => {
    const { status, stderr } = run(['-c', 'length', join(directory, 'nofile')])
    expect(status).toBe(1)
    expect(stderr).toMatch(
      /^qemu-io: can't open device .*nofile: Could not open '.*nofile': No such file or directory\n$/,
    )
  })
})

/** `script` gives a shell a terminal, and the shell stops and continues the program. */
const haveTerminals =
  process.platform === 'linux' &&
  spawnSync('script', ['-qfc', 'bash --version', '/dev/null'], { input: '' }).status === 0

describe.skipIf(!haveTerminals)('a terminal', () => {
  it('goes on after Ctrl-Z and fg, and after a stop from outside, with what was typed', async () => {
    const shell = spawn('script', ['-qfc', 'bash --norc --noprofile -i', '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, TERM: 'xterm', PS1: 'shell> ' },
    })
    const ended = new Promise((resolve) => shell.on('exit', resolve))
    const say = async (input: string, answer: string): Promise<void> => {
      const seen = printed(shell, answer)
      shell.stdin!.write(input)
      await seen
    }
    const bin = `'${process.execPath}' '${join(directory, 'bin.cjs')}' ${MEMORY.join(' ')}`
    await say(`${bin}\n`, 'qemu-io> ')
    await say('leng', 'leng')
    await say('\x1a', 'Stopped')
    await say('fg\n', 'qemu-io> leng')
    await say('th\r', '1 MiB')
    await say('\x1a', 'Stopped')
    await say('fg\n', 'qemu-io> ')
    await say('length\r', '1 MiB')
    // The shell passes the terminal to the program in its current mode: raw mode has to be set again.
    await say('\x1a', 'Stopped')
    await say('stty sane; echo d""one\n', 'done')
    await say('fg\n', 'qemu-io> ')
    await say('info\r', 'format name')
    // Without its terminal the shell ends, and the program with it.
    shell.kill('SIGKILL')
    await ended
  })
})

describe.skipIf(!haveTerminals)('a session at a terminal', () => {
  it('completes with Tab, ends a command with Ctrl-C, and remembers its lines', async () => {
    const state = join(directory, 'terminal-state')
    const debug = '--image-opts driver=blkdebug,image.driver=memory,image.size=1M'
    const begin = (): ChildProcess =>
      spawn(
        'script',
        ['-qfc', `'${process.execPath}' '${join(directory, 'bin.cjs')}' ${debug}`, '/dev/null'],
        {
          stdio: ['pipe', 'pipe', 'inherit'],
          env: { ...process.env, TERM: 'xterm', XDG_STATE_HOME: state },
        },
      )
    const sayTo = (child: ChildProcess) => async (input: string, answer: string | RegExp) => {
      const seen = printed(child, answer)
      child.stdin!.write(input)
      await seen
    }
    const first = begin()
    const ended = new Promise((resolve) => first.on('exit', resolve))
    await printed(first, 'qemu-io> ')
    const say = sayTo(first)
    await say('le\t', 'length ')
    // The next key is for the prompt, so it must be there.
    await say('\r', /1 MiB[\s\S]*qemu-io> /)
    await say('break pwritev A\r', 'qemu-io> ')
    await say('write 0 512\r', "Suspended request 'A'")
    await say('\x03', /Interrupted[\s\S]*qemu-io> /)
    await say('resume A\r', /Resuming request 'A'[\s\S]*qemu-io> /)
    await say('foo\x03', /\^C[\s\S]*qemu-io> /)
    await say('\x03', /Ctrl-D ends[\s\S]*qemu-io> /)
    first.stdin!.write('exit\r')
    await ended

    const path = join(state, 'vmblock', 'qemu-io-history')
    expect(readFileSync(path, 'utf8')).toBe('length\nbreak pwritev A\nwrite 0 512\nresume A\nexit\n')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const second = begin()
    const over = new Promise((resolve) => second.on('exit', resolve))
    await printed(second, 'qemu-io> ')
    await sayTo(second)('\x1b[A', 'exit')
    second.stdin!.write('\r')
    await over
  })
})

describe('the scratch image', () => {
  it('is made once, survives a crash, and is repaired at the next start', () => {
    const env = { XDG_STATE_HOME: join(directory, 'state') }
    const path = join(env.XDG_STATE_HOME, 'vmblock', 'scratch.qcow2')
    const first = run(['--scratch'], 'write -P 0x5a 0 64k\nabort\n', env)
    expect(first).toMatchObject({ signal: 'SIGABRT' })
    expect(first.stdout.split('\n').slice(0, 2).join('\n')).toContain(path)
    expect(existsSync(path)).toBe(true)

    const second = run(['--scratch'], 'read -P 0x5a 0 64k\n', env)
    expect(second.status).toBe(0)
    expect(second.stderr).toContain('ERROR cluster 5 refcount=0 reference=1')
    expect(second.stdout).toContain('read 65536/65536 bytes at offset 0')
    expect(second.stdout).toContain(
      'The image was not closed: repaired 1 error and 0 leaks. The data is there.\n',
    )
    expect(run(['--scratch'], 'length\n', env)).toMatchObject({ status: 0, stderr: '' })
  })
})
