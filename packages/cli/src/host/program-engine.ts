/**
 * System calls of a program that does one thing at a time. Handing a call to another thread costs more than
 * most calls take, and a program that waits for its only request has nothing else to do. So a lone call runs
 * on this thread, however long it takes, even a flush; concurrent calls are left to the adaptive engine.
 */
import { type EngineName, type IoEngine, makeEngine } from '@vmblock/block-core/node'

/** Bytes: copying this much or more is better shared with other threads. */
const LARGE = 128 * 1024
/** The event loop turns after this many calls on this thread, so that signals are handled. */
const CALLS_IN_A_TURN = 100

/** `queueMicrotask` makes an object for debuggers each time, which costs as much as the system call. */
const DONE = Promise.resolve()

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Makes the engine of one open file; for `aio=adaptive`, the default, it is the one described above.
 *
 * @param make makes the engines that it consists of
 */
export function programEngine(name: EngineName, make = makeEngine): IoEngine {
  const engine = make(name)
  if (name !== 'adaptive') return engine
  const here = make('sync')
  const [pread, pwrite] = [engine.pread.bind(engine), engine.pwrite.bind(engine)]
  const [fdatasync, stop] = [engine.fdatasync.bind(engine), engine.stop.bind(engine)]
  /** Calls running in the adaptive engine. */
  let running = 0
  /** Calls made here whose completion the caller has not seen: a concurrent call would come before that. */
  let unseen = 0
  let calls = 0
  const seen = (): void => {
    unseen--
  }
  const takesHere = (bytes: number): boolean => {
    if (bytes >= LARGE || running > 0 || unseen > 0) return false
    unseen++
    void DONE.then(seen)
    return true
  }
  const isTurnDue = (): boolean => ++calls % CALLS_IN_A_TURN === 0
  const elsewhere = async (call: () => Promise<void>): Promise<void> => {
    running++
    try {
      await call()
    } finally {
      running--
    }
  }
  // No async functions: a chain of promises costs as much as the call.
  return Object.assign(engine, {
    pread(fd: number, into: Uint8Array, offset: number) {
      if (!takesHere(into.length)) return elsewhere(() => pread(fd, into, offset))
      return isTurnDue() ? nextTurn().then(() => here.pread(fd, into, offset)) : here.pread(fd, into, offset)
    },
    pwrite(fd: number, from: Uint8Array, offset: number) {
      if (!takesHere(from.length)) return elsewhere(() => pwrite(fd, from, offset))
      return isTurnDue()
        ? nextTurn().then(() => here.pwrite(fd, from, offset))
        : here.pwrite(fd, from, offset)
    },
    fdatasync(fd: number) {
      if (!takesHere(0)) return elsewhere(() => fdatasync(fd))
      return isTurnDue() ? nextTurn().then(() => here.fdatasync(fd)) : here.fdatasync(fd)
    },
    // The engine's other methods stay unchanged.
    async stop() {
      await here.stop()
      await stop()
    },
  })
}
