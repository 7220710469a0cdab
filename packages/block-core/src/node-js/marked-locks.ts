/**
 * Locks on bytes of files, made of marks: for hosts and file systems whose own locks cannot be used. They
 * keep processes and threads of vmblock apart; they do not see other programs' locks, nor do other programs
 * see them. A file is identified by device and inode, so that all its names mean the same file, and nothing
 * is written beside it.
 */
import { fstatSync } from 'node:fs'
import type { HostLocks } from './host-calls.ts'
import { hostMarks, type Marks } from './marks.ts'

/** The locks of one descriptor. */
interface Held {
  readonly file: string
  readonly bytes: Set<number>
  /** The mark that publishes them, once it was left. */
  mark?: { readonly name: string; readonly takeBack: () => void } | undefined
  /** Other descriptors' marks on this file, cached until this one's mark changes. */
  others?: readonly string[] | undefined
}

const PREFIX = 'vmblock1'
/** Distinguishes threads, and copies of this module. */
const instance = Math.random().toString(36).slice(2, 10)
let count = 0

/** The identity of a file, as marks' names begin. */
function fileOf(fd: number): string {
  const stats = fstatSync(fd, { bigint: true })
  const { dev, ino, rdev } = stats
  return stats.isBlockDevice()
    ? `${PREFIX}_b${rdev.toString(36)}_`
    : `${PREFIX}_${dev.toString(36)}-${ino.toString(36)}_`
}

/** Makes locks out of marks. A mark lists all the bytes that its descriptor has locked. */
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
    apply(fd) {
      const held = heldBy(fd)
      const { file, bytes, mark } = held
      held.others = undefined
      // The new mark is left before the old one is removed: at no moment are the bytes unlocked.
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
 * Marks this thread as the writer of a file: no other thread of the process may write to it, just as no other
 * node of this thread may (identity.ts).
 *
 * @returns a function that removes the mark
 * @throws EEXIST if another thread writes to it; ENOLCK if that cannot be found out
 */
export function markWriter(fd: number, marks: Marks = hostMarks): () => void {
  return marks.leave(`${fileOf(fd)}w_${process.pid}_0`)
}
