/**
 * Marks that tell other processes and threads of this host what this one does with a file, where the host has no locks
 * for us. A mark is a name that ends with its process, however that ends: an abstract socket (Linux) or a named pipe
 * (Windows) that nobody connects to. Elsewhere it is an empty file that carries the process id: one whose process is
 * gone counts for nothing, and is removed by the next that looks.
 *
 * No timers and no heartbeat: a blocked event loop loses nothing, and nothing here keeps a process alive.
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

/** Where marks are left. Nothing here waits. */
export interface Marks {
  /**
   * Leaves a mark; a name can be there once.
   *
   * @returns what takes it back
   * @throws EEXIST where another has left it, ENOLCK where this host takes none
   */
  leave(name: string): () => void
  /** The names of all marks that begin so. @throws ENOLCK */
  find(prefix: string): string[]
}

const failure = (code: 'EEXIST' | 'ENOLCK', message: string, cause?: unknown): Error =>
  Object.assign(new Error(message, { cause }), { code })

/** How sockets are named, and found again. */
interface SocketNames {
  /** Stands before a name, so that it belongs to no file system. */
  readonly before: string
  list(): string[]
}

/** Names that the kernel pads are the same to others; a name ends at the first byte that it cannot have. */
const LINUX: SocketNames = {
  before: '\0',
  list: () => [...readFileSync('/proc/net/unix', 'latin1').matchAll(/ @([\w.-]+)/g)].map(([, name]) => name!),
}
const PIPES = '\\\\.\\pipe\\'
const WINDOWS: SocketNames = { before: PIPES, list: () => readdirSync(PIPES) }

/** @param list the names that are there, whoever has left them */
function socketMarks({ before, list }: SocketNames): Marks {
  return {
    leave(name) {
      // Loaded here, for most hosts never need it.
      const { createServer } = process.getBuiltinModule('node:net')
      const server = createServer((connection) => connection.destroy()).unref()
      server.on('error', () => {})
      // `exclusive`: a worker of node:cluster would else share the socket with its siblings.
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

/** Milliseconds by which the times of files and of processes may differ. */
const SLACK = 2000

/**
 * Marks as files of a directory, for hosts without sockets that end with their process. Their names end with
 * `_PID_NUMBER`. What a thread has left that was terminated stays until its process ends.
 */
export function fileMarks(directory: string): Marks {
  const isAlive = (name: string): boolean => {
    try {
      const path = join(directory, name)
      const { mtimeMs } = statSync(path)
      if (Number(mtimeMs) + SLACK >= startOf(Number(name.split('_').at(-2)))) return true
      rmSync(path, { force: true })
    } catch {
      // It went meanwhile, or belongs to another user, who will remove it.
    }
    return false
  }
  return {
    leave(name) {
      const path = join(directory, name)
      try {
        mkdirSync(directory, { recursive: true })
        // For all users, each of whom may remove only what is theirs.
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

/** When a process began, in milliseconds since 1970; Infinity for one that is gone. */
function startOf(pid: number): number {
  if (pid === process.pid) return Date.now() - process.uptime() * 1000
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it is there, and another user's.
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

/** The directory is the same for all users, whatever their TMPDIR. */
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

/** Chosen when the first is left, for most processes need none. */
function chosen(): Marks {
  ofThisHost ??= marksOfThisHost()
  return ofThisHost
}

/** The marks of this host. */
export const hostMarks: Marks = {
  leave: (name) => chosen().leave(name),
  find: (prefix) => chosen().find(prefix),
}
