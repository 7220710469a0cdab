/** Ends the process when a round hangs: during a loop without an `await` only another thread can. */
import { Worker } from 'node:worker_threads'

/** A watchdog. */
export interface Watchdog {
  /** Starts a round. @param story describes the round, and is shown if it hangs */
  enter(round: number, story?: string): void
  stop(): void
}

/** Seconds that a round may take on a slow machine. */
const PATIENCE = Number(process.env['HOSTILE_PATIENCE'] ?? 240)

/** Bytes of memory for a story, and the numbers before it. */
const STORY = 2 ** 20

const BARK = `
const { workerData } = require('node:worker_threads')
const { writeSync } = require('node:fs')
const round = new Float64Array(workerData, 0, 2)
const story = new Uint8Array(workerData, 16)
let [last, since] = [0, Date.now()]
setInterval(() => {
  if (round[0] !== last) [last, since] = [round[0], Date.now()]
  if (last === 0 || Date.now() - since < ${PATIENCE * 1000}) return
  const text = new TextDecoder().decode(story.slice(0, round[1]))
  writeSync(2, 'hostile image number ' + last + ' does not end\\n' + text + '\\n')
  process.kill(process.pid, 'SIGKILL')
}, 1000)
`

/** Starts a watchdog. */
export function startWatchdog(): Watchdog {
  const memory = new SharedArrayBuffer(STORY)
  const round = new Float64Array(memory, 0, 2)
  const text = new Uint8Array(memory, 16)
  const encoder = new TextEncoder()
  const worker = new Worker(BARK, { eval: true, workerData: memory })
  worker.unref()
  return {
    enter(number, story = '') {
      const bytes = encoder.encode(story).subarray(0, text.length)
      text.set(bytes)
      round[1] = bytes.length
      round[0] = number
    },
    stop: () => void worker.terminate(),
  }
}
