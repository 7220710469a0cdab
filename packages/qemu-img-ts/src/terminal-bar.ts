/** The bar that a long command shows on a terminal, with rate and time left; drawn by cli-progress. */
import type { SingleBar } from 'cli-progress'
import type { ProgressBar } from './kit/progress-bar.ts'
import { humanSize } from './text/human-size.ts'

const WIDTH = 40
/** Characters of the numbers beside the bar. */
const NUMBERS = 39
const SHORTEST = 5
/** Steps of the bar: a thousandth is more than a terminal shows. */
const STEPS = 1000
/** Recent updates from which the time left is estimated. */
const ETA_UPDATES = 50
const CLEAR_LINE = '\r\u001b[K'
/** Saves and restores the cursor: after a message, what was saved is another line. */
const CURSOR_MEMORY = ['\u001b7', '\u001b8']

/** What is needed of a stream that is a terminal. */
export interface Terminal {
  write(text: string): unknown
  readonly columns?: number | undefined
}

/**
 * Makes a bar. The library is loaded with the first bar: most commands end before they need one.
 *
 * @param terminal where it is drawn
 */
export function terminalBar(terminal: Terminal): ProgressBar {
  let bar: SingleBar | undefined
  let latest: readonly [fraction: number, rate: string] = [0, '']
  let ended = false
  let isMuted = false
  const stream = {
    isTTY: true,
    columns: terminal.columns,
    write: (text: string) => isMuted || CURSOR_MEMORY.includes(text) || terminal.write(text),
  }
  const loading = import('cli-progress').then(({ default: { SingleBar } }) => {
    if (ended) return
    bar = new SingleBar({
      format: ' [{bar}] {percentage}% {rate}| {eta_formatted} left',
      barCompleteChar: '=',
      barIncompleteChar: ' ',
      barsize: Math.max(SHORTEST, Math.min(WIDTH, (terminal.columns ?? 80) - NUMBERS)),
      stream: stream as unknown as NodeJS.WritableStream,
      // What the user sees of the terminal afterwards is as it was before.
      hideCursor: false,
      linewrap: true,
      clearOnComplete: false,
      // The program has its own way of ending.
      gracefulExit: false,
      // A message may have erased it.
      forceRedraw: true,
      etaBuffer: ETA_UPDATES,
    })
    bar.start(STEPS, latest[0] * STEPS, { rate: latest[1] })
  })
  // The bar is a comfort: a command does not fail for want of it.
  loading.catch(() => undefined)
  return {
    show(fraction, bytesPerSecond) {
      const rate = bytesPerSecond === undefined ? '' : `| ${humanSize(bytesPerSecond)}/s `
      latest = [fraction, rate]
      bar?.update(Math.floor(fraction * STEPS), { rate })
    },
    hide() {
      if (bar) terminal.write(CLEAR_LINE)
    },
    end(keep) {
      ended = true
      if (!bar) return
      if (!keep) terminal.write(CLEAR_LINE)
      isMuted = !keep
      bar.stop()
      bar = undefined
    },
  }
}
