/** Processes and threads without the host's locks: which are refused, and what a dead process leaves. */
import { type ChildProcess, fork } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { ALL_PERMISSIONS, PERMISSION } from '../contract/permissions.ts'
import { FileLock } from './file-lock.ts'
import { markedLocks, markWriter } from './marked-locks.ts'
import { fileMarks, hostMarks, type Marks } from './marks.ts'
import { openFile, ScratchFiles } from './scratch-files.ts'

const { consistentRead, write, resize } = PERMISSION
const WRITER = { taken: consistentRead | write | resize, shared: ALL_PERMISSIONS & ~(write | resize) }
const READER = { taken: consistentRead, shared: ALL_PERMISSIONS & ~(write | resize) }
const RAW = { taken: consistentRead | write, shared: ALL_PERMISSIONS }

const scratch = new ScratchFiles()
const directory = mkdtempSync(join(tmpdir(), 'vmblock-marks-'))
afterAll(() => {
  scratch.remove()
  rmSync(directory, { recursive: true })
})

/** Leaves a mark and keeps it until killed. Has no imports: it runs without this project's loader. */
const HOLDER = `
  const [kind, name, directory] = process.argv.slice(2)
  if (kind === 'socket') {
    const server = require('node:net').createServer()
    server.listen({ path: '\\0' + name, exclusive: true }, () => process.send('held'))
  } else {
    require('node:fs').writeFileSync(directory + '/' + name.replace('PID', process.pid), '')
    process.send('held')
    setInterval(() => {}, 1e6)
  }
`
const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

async function holder(kind: string, name: string): Promise<ChildProcess> {
  const script = join(directory, 'holder.cjs')
  writeFileSync(script, HOLDER)
  const child = fork(script, [kind, name, directory], { execArgv: [] })
  children.push(child)
  await new Promise((resolve) => child.once('message', resolve))
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGKILL')
  await gone
}

const KINDS: readonly (readonly [string, Marks])[] = [
  ...(process.platform === 'linux' ? [['socket', hostMarks] as const] : []),
  ['file', fileMarks(directory)],
]

describe.each(KINDS)('locks by marks of the kind "%s"', (kind, marks) => {
  const locks = markedLocks(marks)
  const lockOn = (fd: number): FileLock =>
    new FileLock(undefined, fd, {
      filename: 'disk',
      required: false,
      own: { locks, markWriter: (file) => markWriter(file, marks) },
    })
  const onFile = async (path: string, use: (fd: number) => void | Promise<void>): Promise<void> => {
    const fs = process.getBuiltinModule('node:fs')
    const fd = fs.openSync(path, 'r')
    try {
      await use(fd)
    } finally {
      fs.closeSync(fd)
    }
  }
  const nothingIsLeft = (): void => {
    expect(marks.find('vmblock1_').filter((name) => name.includes(`_${process.pid}_`))).toEqual([])
  }

  it('keep writers from readers and writers, whatever the file is called, and leave nothing', async () => {
    const path = scratch.newFile('x')
    const [symbolic, hard] = [`${path}.symbolic`, `${path}.hard`]
    symlinkSync(path, symbolic)
    linkSync(path, hard)
    await onFile(path, async (fd) => {
      for (const name of [path, symbolic, hard])
        await onFile(name, (other) => {
          const [one, two] = [lockOn(fd), lockOn(other)]
          one.prepare(READER).commit()
          two.prepare(READER).commit()
          expect(() => two.prepare(WRITER)).toThrow('Failed to get "write" lock')
          one.prepare({ taken: 0, shared: ALL_PERMISSIONS }).commit()
          two.prepare(WRITER).commit()
          expect(() => one.prepare(READER)).toThrow('Failed to get shared "write" lock')
          expect(() => one.prepare(RAW)).toThrow('Failed to get "write" lock')
          two.end()
          one.prepare(WRITER).commit()
          one.end()
          nothingIsLeft()
        })
    })
  })

  it('let one thread of a process write, where processes may share it', async () => {
    const path = scratch.newFile('x')
    await onFile(path, (fd) =>
      onFile(path, (other) => {
        // Two lock objects stand for two threads, each with its own copy of the module.
        const [one, two] = [lockOn(fd), lockOn(other)]
        one.prepare(RAW).commit()
        expect(() => two.prepare(RAW)).toThrow('Failed to get "write" lock')
        one.prepare(READER).commit()
        one.end()
        two.prepare(RAW).commit()
        two.end()
        nothingIsLeft()
      }),
    )
  })

  it('end with the process that is killed', async () => {
    const path = scratch.newFile('x')
    await onFile(path, async (fd) => {
      const lock = lockOn(fd)
      lock.prepare(WRITER).commit()
      const [mine] = marks.find('vmblock1_').filter((name) => name.includes(`_${process.pid}_`))
      lock.end()
      const pid = kind === 'file' ? 'PID' : '1'
      const child = await holder(kind, mine!.replace(/_\d+_\w+$/, `_${pid}_held`))
      expect(() => lockOn(fd).prepare(READER)).toThrow('Failed to get shared "write" lock')
      await kill(child)
      const next = lockOn(fd)
      next.prepare(WRITER).commit()
      next.end()
      expect(readdirSync(directory).filter((name) => name.endsWith('_held'))).toEqual([])
    })
  })

  it('hold on a file without write permission, in such a directory', async () => {
    const path = scratch.newFile('x')
    chmodSync(path, 0o444)
    chmodSync(dirname(path), 0o555)
    try {
      await onFile(path, (fd) => {
        const lock = lockOn(fd)
        lock.prepare(READER).commit()
        expect(marks.find('vmblock1_').some((name) => name.includes(`_${process.pid}_`))).toBe(true)
        lock.end()
      })
    } finally {
      chmodSync(dirname(path), 0o755)
    }
  })
})

describe('a mark that is a file', () => {
  it('counts for nothing where its process began later', () => {
    const marks = fileMarks(directory)
    const name = `vmblock1_0-0_100_${process.pid}_old`
    marks.leave(name)
    expect(marks.find('vmblock1_0-0_')).toEqual([name])
    utimesSync(join(directory, name), 1, 1)
    expect(marks.find('vmblock1_0-0_')).toEqual([])
    const parent = `vmblock1_0-0_100_${process.ppid}_old`
    marks.leave(parent)
    expect(marks.find('vmblock1_0-0_')).toEqual([parent])
    utimesSync(join(directory, parent), 1, 1)
    expect(marks.find('vmblock1_0-0_')).toEqual([])
  })
})

describe('a file node without locks of the host', () => {
  it('is locked by marks through reopens, and gives them back when it is closed or crashes', async () => {
    const path = scratch.newFile(new Uint8Array(4096))
    const mine = () => hostMarks.find('vmblock1_').filter((name) => name.includes(`_${process.pid}_`))
    const { reopenNode } = await import('../open/reopen.ts')
    for (const end of ['close', 'crash'] as const) {
      const node = await openFile(path, { readOnly: true }, { hostCalls: {}, onUnlocked: () => {} })
      expect(mine()).toHaveLength(1)
      await reopenNode(node, { readOnly: false })
      expect(mine().some((name) => name.split('_')[2]!.split('.').includes('101'))).toBe(true)
      await reopenNode(node, { readOnly: true })
      expect(mine().some((name) => name.split('_')[2]!.split('.').includes('101'))).toBe(false)
      await node[end]()
      expect(mine()).toEqual([])
    }
    const unlocked = await openFile(path, { locking: 'off' }, { hostCalls: {}, onUnlocked: () => {} })
    expect(mine()).toEqual([])
    await unlocked.close()
  })
})
