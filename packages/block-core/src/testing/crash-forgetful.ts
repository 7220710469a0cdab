/** Disks that skip flushes: planted bugs, to test that power-cut tests notice them. */
import type { DebugEvent } from '../contract/debug-events.ts'
import { type AnyDriver, defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { forwardOps } from '../drivers/pass-through.ts'

/** A write or zero write; in bytes. */
export interface Change {
  readonly offset: number
  readonly bytes: number
}

/** Operations that a disk skips, but reports as done. */
export interface Forgets {
  /** Whether to skip a flush, given the changes since the last real flush, and the last announced step. */
  flush?(changes: readonly Change[], step: DebugEvent): boolean
  /** Skip all changes of the disk's length. */
  readonly length?: boolean
}

/** A filter to insert below an image as its {@link CrashImage.filter}. */
export const forgetfulDisk = ({ flush = () => false, length = false }: Forgets): AnyDriver =>
  defineDriver({
    name: 'forgetful',
    kind: 'filter',
    async open(context): Promise<NodeOps> {
      const child = await context.requireChild('file')
      let changes: Change[] = []
      let step: DebugEvent = 'none'
      return forwardOps(child, {
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
          // These steps are part of the flush itself; the step before them is the one that matters.
          if (event !== 'flush_to_disk' && event !== 'pwritev' && event !== 'pwritev_done') step = event
          return child.debugEvent(event)
        },
      })
    },
  })
