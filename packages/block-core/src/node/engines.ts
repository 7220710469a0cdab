/** The engines by the names of the option `aio`. */
import { oneOfWords } from '../arguments.ts'
import { AdaptiveEngine } from './adaptive-engine.ts'
import { AioQueue } from './aio-queue.ts'
import { DirectEngine } from './direct-engine.ts'
import type { HostCalls } from './host-calls.ts'
import { type IoEngine, SyncEngine, ThreadEngine } from './io-engine.ts'

/** The kinds of engine, as the option `aio` names them. */
export type EngineName = 'sync' | 'threads' | 'adaptive'

/** Values of the option `aio`: the kinds of engine, and QEMU's names for ways of the Linux kernel. */
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

/** The engine that stands for a name in the page cache: neither Linux AIO nor, in Node, io_uring is any good there. */
export const engineNameOf = (name: AioName): EngineName =>
  name === 'native' || name === 'io_uring' ? 'threads' : name

/** Makes the engine for a file that is open with O_DIRECT. `alignment` in bytes. */
export function makeDirectEngine(name: AioName, alignment: number, calls: HostCalls): DirectEngine {
  const queue = name === 'native' || name === 'adaptive' ? sharedQueue(calls) : undefined
  return new DirectEngine(alignment, queue && { queue })
}

/** One queue for all files, by the calls that it is made of. */
const queues = new WeakMap<HostCalls, AioQueue | undefined>()

/** @returns undefined where there is none to be had, and this is not asked again */
function sharedQueue(calls: HostCalls): AioQueue | undefined {
  if (queues.has(calls)) return queues.get(calls)
  let queue: AioQueue | undefined
  try {
    queue = calls.aio && new AioQueue(calls.aio)
  } catch {
    // A sandbox may forbid them, or the system have given away all that it has: then threads do it.
  }
  queues.set(calls, queue)
  return queue
}
