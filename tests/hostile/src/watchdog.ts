/** Ends the process when a round never ends: a loop without an await leaves nobody else who could. */
import { Worker } from 'node:worker_threads'

/** A dog. */
export interface Watchdog {
  /** A round begins. */
  enter(round: number): void
  stop(): void
}

/** Seconds that a round may take on a slow machine. */
const PATIENCE = Number(process.env['HOSTILE_PATIENCE'] ?? 240)

const BARK = `
const { workerData } = require('node:worker_threads')
const { writeSync } = require('node:fs')
const round = new Float64Array(workerData)
let [last, since] = [0, Date.now()]
setInterval(() => {
  if (round[0] !== last) [last, since] = [round[0], Date.now()]
  if (last === 0 || Date.now() - since < ${PATIENCE * 1000}) return
  writeSync(2, 'hostile image number ' + last + ' does not end\\n')
  process.kill(process.pid, 'SIGKILL')
}, 1000)
`

/** Starts to watch. */
export function startWatchdog(): Watchdog {
  const memory = new SharedArrayBuffer(8)
  const round = new Float64Array(memory)
  const worker = new Worker(BARK, { eval: true, workerData: memory })
  worker.unref()
  return {
    enter(number) {
      round[0] = number
    },
    stop: () => void worker.terminate(),
  }
}
