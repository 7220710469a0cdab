/** Makes engines by the names of the option `aio`. */
import { isMainThread } from 'node:worker_threads'
import { oneOfWords } from '../base/arguments.ts'
import { AdaptiveEngine } from './adaptive-engine.ts'
import { AioQueue } from './aio-queue.ts'
import { DirectEngine, type LentQueue } from './direct-engine.ts'
import type { HostCalls } from './host-calls.ts'
import { type IoEngine, SyncEngine, ThreadEngine } from './io-engine.ts'

/** The kinds of engine, as the option `aio` names them. */
export type EngineName = 'sync' | 'threads' | 'adaptive'

/** Values of the option `aio`: the kinds of engine, and QEMU's names for the Linux kernel's interfaces. */
export const AIO_NAMES = ['adaptive', 'sync', 'threads', 'native', 'io_uring'] as const

/** One of {@link AIO_NAMES}. */
export type AioName = (typeof AIO_NAMES)[number]

const requireName = oneOfWords('sync', 'threads', 'adaptive')

/** Makes the engine for one open file. */
export function makeEngine(name: EngineName): IoEngine {
  requireName(name, 'name')
  if (name === 'sync') return new SyncEngine()
  return name === 'threads' ? new ThreadEngine() : new AdaptiveEngine()
}

/** The engine for a file in the page cache: neither Linux AIO nor, in Node, io_uring is of use there. */
export const engineNameOf = (name: AioName): EngineName =>
  name === 'native' || name === 'io_uring' ? 'threads' : name

/** Makes the engine for a file that is open with O_DIRECT. `alignment` in bytes. */
export function makeDirectEngine(name: AioName, alignment: number, calls: HostCalls): DirectEngine {
  const lent = name === 'native' || name === 'adaptive' ? borrowQueue(calls) : undefined
  return new DirectEngine(alignment, lent)
}

/** The queue of all files, and the number of engines that use it. */
interface SharedQueue {
  readonly queue: AioQueue
  users: number
}

/** Queues by the calls they are made of. A queue exists while engines use it; 'none': the host gave none. */
const queues = new WeakMap<HostCalls, SharedQueue | 'none'>()

/** @returns undefined if the host has none; it is not asked again */
function borrowQueue(calls: HostCalls): LentQueue | undefined {
  const shared = queues.get(calls) ?? makeQueue(calls)
  queues.set(calls, shared)
  if (shared === 'none') return undefined
  shared.users++
  return {
    queue: shared.queue,
    async giveBack() {
      if (--shared.users > 0) return
      queues.delete(calls)
      await shared.queue.close()
    },
  }
}

function makeQueue(calls: HostCalls): SharedQueue | 'none' {
  // A terminated worker cleans nothing up: Node closes its descriptors, but the kernel's queues stay.
  if (!isMainThread) return 'none'
  try {
    return calls.aio ? { queue: new AioQueue(calls.aio), users: 0 } : 'none'
  } catch {
    // A sandbox may forbid queues, or the system may have run out of them: then threads are used.
    return 'none'
  }
}
