/**
 * Locks on bytes of files, made of marks: for hosts, and file systems, that have none for us. They keep processes and
 * threads of ours apart; other programs neither see them nor are seen. A file is known by its device and inode,
 * so that every name of it is the same, and nothing is written beside it.
 */
import { fstatSync } from 'node:fs'
import type { HostLocks } from './host-calls.ts'
import { hostMarks, type Marks } from './marks.ts'

/** What one descriptor has locked. */
interface Held {
  readonly file: string
  readonly bytes: Set<number>
  /** The mark that says so, once it is left. */
  mark?: { readonly name: string; readonly takeBack: () => void } | undefined
  /** The marks of others on this file, since this one last changed. */
  others?: readonly string[] | undefined
}

const PREFIX = 'vmblock1'
/** Different in each thread, and in each copy of this module. */
const instance = Math.random().toString(36).slice(2, 10)
let count = 0

/** What a file is in the names of marks. */
function fileOf(fd: number): string {
  const stats = fstatSync(fd, { bigint: true })
  const { dev, ino, rdev } = stats
  return stats.isBlockDevice()
    ? `${PREFIX}_b${rdev.toString(36)}_`
    : `${PREFIX}_${dev.toString(36)}-${ino.toString(36)}_`
}

/** Locks by marks. A mark tells all the bytes that its descriptor has locked. */
export function markedLocks(marks: Marks = hostMarks): HostLocks {
  const table = new Map<number, Held>()
  const heldBy = (fd: number): Held => {
    const held = table.get(fd) ?? { file: fileOf(fd), bytes: new Set() }
    table.set(fd, held)
    return held
  }
  return {
    share: (fd, byte) => void heldBy(fd).bytes.add(byte),
    release: (fd, byte) => void table.get(fd)?.bytes.delete(byte),
    settle(fd) {
      const held = heldBy(fd)
      const { file, bytes, mark } = held
      held.others = undefined
      // The new one comes before the old one goes: there is no moment at which nothing is locked.
      const name = `${file}${[...bytes].join('.')}_${process.pid}_${instance}${count++}`
      held.mark = bytes.size === 0 ? undefined : { name, takeBack: marks.leave(name) }
      mark?.takeBack()
      if (bytes.size === 0) table.delete(fd)
    },
    isTaken(fd, byte) {
      const held = heldBy(fd)
      held.others ??= marks.find(held.file).filter((name) => name !== held.mark?.name)
      return held.others.some((name) => name.split('_')[2]!.split('.').includes(String(byte)))
    },
    forget(fd) {
      table.get(fd)?.mark?.takeBack()
      table.delete(fd)
    },
  }
}

/**
 * Says that this thread writes to a file: no other thread of the process may, as no other node of this thread may
 * (access.ts).
 *
 * @returns what takes it back
 * @throws EEXIST where another thread does; ENOLCK where that cannot be told
 */
export function markWriter(fd: number, marks: Marks = hostMarks): () => void {
  return marks.leave(`${fileOf(fd)}w_${process.pid}_0`)
}
