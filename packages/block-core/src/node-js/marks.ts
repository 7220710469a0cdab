/**
 * Marks that tell other processes and threads of this host what this one does with a file, if the host's
 * locks cannot be used. A mark is a name that vanishes with its process, however that ends: an abstract
 * socket (Linux) or a named pipe (Windows) that nothing connects to. Elsewhere it is an empty file whose name
 * holds the process id: a mark whose process is gone is ignored, and removed by the next process that looks.
 *
 * No timers and no heartbeat: a blocked event loop loses no mark, and no mark keeps a process alive.
 */
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { uptime } from 'node:os'
import { join } from 'node:path'

/** A store of marks. None of its methods waits. */
export interface Marks {
  /**
   * Leaves a mark; each name can exist once.
   *
   * @returns a function that removes it
   * @throws EEXIST if the name exists already, ENOLCK if this host takes no marks
   */
  leave(name: string): () => void
  /** The names of all marks that begin with `prefix`. @throws ENOLCK */
  find(prefix: string): string[]
}

const failure = (code: 'EEXIST' | 'ENOLCK', message: string, cause?: unknown): Error =>
  Object.assign(new Error(message, { cause }), { code })

/** How sockets are named and listed. */
interface SocketNames {
  /** A prefix that keeps the name out of the file system. */
  readonly before: string
  list(): string[]
}

/** Names may be padded by the kernel: a name ends at the first byte that names cannot contain. */
const LINUX: SocketNames = {
  before: '\0',
  list: () => [...readFileSync('/proc/net/unix', 'latin1').matchAll(/ @([\w.-]+)/g)].map(([, name]) => name!),
}
const PIPES = '\\\\.\\pipe\\'
const WINDOWS: SocketNames = { before: PIPES, list: () => readdirSync(PIPES) }

/** @param list returns the existing names, of all processes */
function socketMarks({ before, list }: SocketNames): Marks {
  return {
    leave(name) {
      // Loaded here, since most hosts never need it.
      const { createServer } = process.getBuiltinModule('node:net')
      const server = createServer((connection) => connection.destroy()).unref()
      server.on('error', () => {})
      // `exclusive`: otherwise a worker of node:cluster would share the socket with its siblings.
      server.listen({ path: before + name, exclusive: true })
      if (!server.listening)
        throw list().includes(name)
          ? failure('EEXIST', `${name} is there`)
          : failure('ENOLCK', 'no socket can be had')
      return () => {
        server.close()
      }
    },
    find(prefix) {
      try {
        return list().filter((name) => name.startsWith(prefix))
      } catch (error) {
        throw failure('ENOLCK', 'sockets cannot be listed', error)
      }
    },
  }
}

/** Tolerance when times of files and of processes are compared, in milliseconds. */
const SLACK = 2000

/**
 * Marks as files of a directory, for hosts whose sockets do not vanish with their process. Their names end
 * with `_PID_NUMBER`. The marks of a terminated thread stay until its process ends.
 */
export function fileMarks(directory: string): Marks {
  const isAlive = (name: string): boolean => {
    try {
      const path = join(directory, name)
      const { mtimeMs } = statSync(path)
      if (Number(mtimeMs) + SLACK >= startOf(Number(name.split('_').at(-2)))) return true
      rmSync(path, { force: true })
    } catch {
      // The file was removed meanwhile, or belongs to another user, whose processes will remove it.
    }
    return false
  }
  return {
    leave(name) {
      const path = join(directory, name)
      try {
        mkdirSync(directory, { recursive: true })
        // Shared by all users, each of whom may remove only their own files.
        chmodSync(directory, 0o1777)
      } catch {}
      try {
        isAlive(name)
        closeSync(openSync(path, 'wx'))
      } catch (error) {
        const isThere = (error as { code?: unknown }).code === 'EEXIST'
        throw failure(isThere ? 'EEXIST' : 'ENOLCK', `${path} cannot be made`, error)
      }
      return () => rmSync(path, { force: true })
    },
    find(prefix) {
      try {
        return readdirSync(directory).filter((name) => name.startsWith(prefix) && isAlive(name))
      } catch (error) {
        if ((error as { code?: unknown }).code === 'ENOENT') return []
        throw failure('ENOLCK', `${directory} cannot be listed`, error)
      }
    },
  }
}

/** The start time of a process, in milliseconds since 1970; Infinity if it is gone. */
function startOf(pid: number): number {
  if (pid === process.pid) return Date.now() - process.uptime() * 1000
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: the process exists, and belongs to another user.
    if ((error as { code?: unknown }).code === 'ESRCH') return Number.POSITIVE_INFINITY
  }
  const boot = Date.now() - uptime() * 1000
  const { spawnSync } = process.getBuiltinModule('node:child_process')
  const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  })
  return Math.max(boot, Date.parse(stdout) || 0)
}

/** The directory of marks: the same for all users, whatever their TMPDIR. */
const DIRECTORY = '/tmp/vmblock-marks'

function marksOfThisHost(): Marks {
  if (process.platform === 'win32') return socketMarks(WINDOWS)
  if (process.platform !== 'linux') return fileMarks(DIRECTORY)
  const sockets = socketMarks(LINUX)
  try {
    LINUX.list()
    return sockets
  } catch {
    return fileMarks(DIRECTORY)
  }
}

let ofThisHost: Marks | undefined

/** Chosen when the first mark is left or looked for, since most processes need none. */
function chosen(): Marks {
  ofThisHost ??= marksOfThisHost()
  return ofThisHost
}

/** The marks of this host. */
export const hostMarks: Marks = {
  leave: (name) => chosen().leave(name),
  find: (prefix) => chosen().find(prefix),
}
