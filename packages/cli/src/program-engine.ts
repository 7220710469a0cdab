/**
 * System calls of a program that does one thing at a time. Handing a call to another thread costs more than most calls
 * take, and a program that waits for its only request has nothing to do meanwhile. So what comes alone is done here,
 * however long it takes, a flush too; what comes while something else runs is left to the adaptive engine.
 */
import { type EngineName, type IoEngine, makeEngine } from '@vmblock/block-core/node'

/** Bytes: copying more is better shared with other threads. */
const LARGE = 128 * 1024
/** After so many calls on this thread the event loop turns, so that signals are heard. */
const CALLS_IN_A_TURN = 100

/** `queueMicrotask` makes an object for debuggers each time, which costs as much as the call that it is for. */
const DONE = Promise.resolve()

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Makes the engine of one open file; that of `aio=adaptive`, which is the default, is the one described above.
 *
 * @param make what makes the engines that it is made of
 */
export function programEngine(name: EngineName, make = makeEngine): IoEngine {
  const engine = make(name)
  if (name !== 'adaptive') return engine
  const here = make('sync')
  const [pread, pwrite] = [engine.pread.bind(engine), engine.pwrite.bind(engine)]
  const [fdatasync, stop] = [engine.fdatasync.bind(engine), engine.stop.bind(engine)]
  /** Calls that the adaptive engine makes. */
  let running = 0
  /** Calls made here whose callers have not yet seen their end: had they others to make, these come before. */
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
    // Everything else the engine does stays what it is.
    async stop() {
      await here.stop()
      await stop()
    },
  })
}
