import { type BlockNode, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import { opsOf } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { COMMANDS } from '../commands/index.ts'
import { runCommands, runMain, TICK, testServices } from '../testing.ts'
import { Interpreter } from './interpreter.ts'
import { Session } from './session.ts'

const RATE = '(20 KiB/sec and 20.0000 ops/sec)'

describe('reading and writing', () => {
  it('reports size, time and rate by the given clock', async () => {
    const { out, status } = await runCommands(['write -P 7 0 1k', 'read -P 7 0 1k'])
    expect(out).toBe(
      `wrote 1024/1024 bytes at offset 0\n1 KiB, 1 ops; 00.05 sec ${RATE}\n` +
        `read 1024/1024 bytes at offset 0\n1 KiB, 1 ops; 00.05 sec ${RATE}\n`,
    )
    expect(status).toBe(0)
    expect(TICK).toBe(50_000_000)
  })

  it('fails on a wrong pattern, and reports all the same', async () => {
    const { out, status } = await runCommands(['write -q -P 7 512 512', 'read -P 7 -s 1 -l 600 0 1k'])
    expect(out).toMatch(/^Pattern verification failed at offset 1, 600 bytes\nread 1024\/1024/)
    expect(status).toBe(1)
  })

  it('keeps the first failure in the exit status, and goes on', async () => {
    const { out, status } = await runCommands(['read 2M 1', 'read -q 0 1', 'length'])
    expect(out).toBe('read failed: Input/output error\n1 MiB\n')
    expect(status).toBe(1)
  })

  it('fills with 0xcd unless told otherwise', async () => {
    expect((await runCommands(['write -q 0 2', 'read -vq 0 2', 'read -v 0 2'])).out).toMatch(
      /^00000000: {2}cd cd {2}\.\.\nread/,
    )
  })

  it('repeats the content of a file', async () => {
    const readFile = async () => new TextEncoder().encode('abc')
    const { out } = await runCommands(['write -q -s f 0 7', 'read -v 0 8'], undefined, {
      services: { readFile },
    })
    expect(out).toMatch(/^00000000: {2}61 62 63 61 62 63 61 00 {2}abcabca\.\n/)
  })

  it('gives misaligned buffers with -m', async () => {
    const seen: number[] = []
    const session = new Session({ print() {}, error() {}, flush() {} }, await memoryServices(), {
      misalign: true,
    })
    const image = await open(session)
    const ops = opsOf(image)
    const { write } = ops
    ops.write = (offset, from, flags) => {
      seen.push(from.byteOffset)
      return write!(offset, from, flags)
    }
    await new Interpreter(COMMANDS, session).run('write 0 512')
    expect(seen).toEqual([16])
  })
})

/** Services whose images are one memory disk. */
async function memoryServices() {
  const registry = new DriverRegistry([memory])
  return { ...testServices(), environment: { registry, host: denyHost } }
}

async function open(session: Session): Promise<BlockNode> {
  const node = await openNode(session.services.environment, { driver: 'memory', size: 2 ** 20 })
  session.attach({ node, close: () => node.close(), crash: () => node.crash() })
  return node
}

describe('requests beside others', () => {
  it('say what became of them when the loop runs again, not before', async () => {
    const { out } = await runCommands(['aio_write 0 4k', 'length', 'aio_flush', 'length'])
    expect(out.replaceAll(/.*ops.*\n/g, '')).toBe('1 MiB\nwrote 4096/4096 bytes at offset 0\n1 MiB\n')
  })

  it('never change the exit status', async () => {
    const { out, status } = await runCommands([
      'aio_read 2M 512',
      'aio_flush',
      'aio_read -q -P 1 0 1',
      'aio_flush',
    ])
    expect(out).toBe('readv failed: Input/output error\nPattern verification failed at offset 0, 1 bytes\n')
    expect(status).toBe(0)
  })

  it('are waited for at the end', async () => {
    expect((await runCommands(['aio_write 0 512', 'quit', 'length'])).out).toMatch(/^wrote 512\/512/)
  })

  it('stop at breakpoints and go on', async () => {
    const { out, status } = await runCommands(
      ['break pwritev A', 'aio_write 0 512', 'wait_break A', 'length', 'resume A', 'aio_flush', 'resume A'],
      ['--image-opts', 'driver=blkdebug,image.driver=memory,image.size=1M'],
    )
    expect(out.replaceAll(/.*ops.*\n/g, '')).toBe(
      "blkdebug: Suspended request 'A'\n1 MiB\nblkdebug: Resuming request 'A'\n" +
        'wrote 512/512 bytes at offset 0\nCould not resume request: No such file or directory\n',
    )
    expect(status).toBe(1)
  })
})

describe('the end', () => {
  it('comes with abort: the image crashes, the session ends, nothing after it runs', async () => {
    const printed: string[] = []
    const output = { print: (text: string) => void printed.push(text), error() {}, flush() {} }
    const session = new Session(output, await memoryServices())
    const node = await open(session)
    expect(await new Interpreter(COMMANDS, session).run('abort')).toBe('ok')
    expect(session.ending).toEqual({ kind: 'signal', signal: 6 })
    expect(node.isOpen).toBe(false)
    await expect(node.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(printed).toEqual([])
  })

  it('with abort has the status of a shell, with an image and without', async () => {
    expect(await runCommands(['length', 'abort', 'length'])).toMatchObject({ status: 134, out: '1 MiB\n' })
    expect(await runMain(['-c', 'abort'])).toMatchObject({ status: 134 })
    expect(await runMain(['-c', 'sigraise 9'])).toMatchObject({ status: 137 })
  })

  it('raises signals by the service that is given, flushed before', async () => {
    const raised: number[] = []
    const raise = (signal: number) => void raised.push(signal)
    const { status } = await runCommands(['sigraise 15', 'abort', 'sigraise 66'], undefined, {
      services: { raise },
    })
    expect(raised).toEqual([15, 6])
    expect(status).toBe(1)
  })

  it('comes with exit, which help knows, too', async () => {
    const { merged, status } = await runMain([], { input: 'help exit\n?\nexit\nlength\n' })
    expect(merged).toMatch(/^qemu-io> exit +-- exit the program\nqemu-io> abort -- /)
    expect(merged).not.toContain('no file open')
    expect(status).toBe(0)
  })

  it('comes with quit, and with the end of input', async () => {
    expect((await runMain([], { input: 'quit\nlength\n' })).merged).toBe('qemu-io> ')
    expect((await runMain([], { input: '\n' })).merged).toBe('qemu-io> qemu-io> ')
  })
})

describe('commands from input', () => {
  it('are answered one by one, each after a prompt', async () => {
    const image = ['--image-opts', 'driver=memory,size=1M']
    const { merged, status } = await runMain(image, { input: 'length\nfoo\n  length  \nhelp foo' })
    expect(merged).toBe(
      'qemu-io> 1 MiB\nqemu-io> command "foo" not found\nqemu-io> 1 MiB\nqemu-io> command foo not found\nqemu-io> ',
    )
    expect(status).toBe(1)
  })
})

describe('commands that are not there', () => {
  it('are refused, those for zones by what they are for', async () => {
    const { err, status } = await runCommands(['zone_report 0 1', 'zap -p 0 4k', 'zone'])
    expect(err).toBe(
      'zone_report: zoned block devices are not supported\n' +
        'zap: zoned block devices are not supported\ncommand "zone" not found\n',
    )
    expect(status).toBe(1)
  })
})

describe('help', () => {
  it('lists all commands by name, and explains one', async () => {
    const { out } = await runMain(['-c', 'help', '-c', '? w'])
    const lines = out.split('\n')
    expect(lines[0]).toBe('abort -- simulate a program crash using abort(3)')
    expect(lines).toContain('map  -- prints the allocated areas of a file')
    expect(lines).toContain("Use 'help commandname' for extended help.")
    expect(lines).toContain(
      'w [-bcCfnquz] [-P pattern | -s source_file] off len -- writes a number of bytes at a specified offset',
    )
    const listed = lines.slice(0, COMMANDS.length).map((line) => line.split(' ')[0]!)
    expect(listed).toEqual([...listed].sort())
  })
})

describe('a temporary overlay', () => {
  it('takes the writes and leaves the image alone', async () => {
    const base = 'driver=memory,size=1M'
    const { out, status } = await runMain([
      '-s',
      '--image-opts',
      '-c',
      'write -q -P 5 0 512',
      '-c',
      'read -q -P 5 0 512',
      '-c',
      'map',
      base,
    ])
    expect(out).toBe(
      '64 KiB (0x10000) bytes     allocated at offset 0 bytes (0x0)\n' +
        '960 KiB (0xf0000) bytes not allocated at offset 64 KiB (0x10000)\n',
    )
    expect(status).toBe(0)
  })
})

describe('objects and traces', () => {
  it('takes plain secrets and refuses what it does not know', async () => {
    expect(await runMain(['--object', 'secret,id=a,data=x,,y', '-c', 'quit'])).toMatchObject({
      status: 0,
      err: '',
    })
    expect((await runMain(['--object', 'iothread,id=a'])).err).toBe(
      "qemu-io: Parameter 'qom-type' does not accept value 'iothread'\n",
    )
    expect((await runMain(['--object', 'secret,id=a,data=x,keyid=b'])).err).toContain("No secret with id 'b'")
    expect((await runMain(['--object', 'secret,id=a,file=f'])).err).toContain('No such file or directory')
  })

  it('has no trace events', async () => {
    expect((await runMain(['-T', 'foo', '-c', 'quit'])).err).toBe(
      "qemu-io: warning: trace event 'foo' does not exist\n",
    )
    expect(await runMain(['-T', 'file=x', '-c', 'quit'])).toMatchObject({ status: 1 })
  })
})
