/** Disks that leave flushes out: seeded bugs, for tests that know whether power cuts would be noticed. */
import type { DebugEvent } from '../debug-events.ts'
import { type AnyDriver, defineDriver, type NodeOps } from '../driver.ts'
import { passThrough } from '../drivers/pass-through.ts'

/** A write or zero write; in bytes. */
export interface Change {
  readonly offset: number
  readonly bytes: number
}

/** What a disk forgets to do, and says that it did. */
export interface Forgets {
  /** Whether a flush is left out, given what was changed since the last that was not, and the step announced last. */
  flush?(changes: readonly Change[], step: DebugEvent): boolean
  /** The disk is not made longer, nor cut off. */
  readonly length?: boolean
}

/** A filter to be put under an image as its {@link CrashImage.filter}. */
export const forgetfulDisk = ({ flush = () => false, length = false }: Forgets): AnyDriver =>
  defineDriver({
    name: 'forgetful',
    kind: 'filter',
    async open(context): Promise<NodeOps> {
      const child = await context.requireChild('file')
      const below = passThrough(child)
      let changes: Change[] = []
      let step: DebugEvent = 'none'
      return {
        ...below,
        write(offset, from, flags) {
          changes.push({ offset, bytes: from.length })
          return child.write(offset, from, flags)
        },
        writeZeroes(offset, bytes, flags) {
          changes.push({ offset, bytes })
          return child.writeZeroes(offset, bytes, flags)
        },
        async truncate(size, options) {
          if (!length) await child.truncate(size, options)
        },
        async flush() {
          if (flush(changes, step)) return
          changes = []
          await child.flush()
        },
        debugEvent(event) {
          // Announced by whoever flushes: what matters is what comes before.
          if (event !== 'flush_to_disk' && event !== 'pwritev' && event !== 'pwritev_done') step = event
          return child.debugEvent(event)
        },
      }
    },
  })
