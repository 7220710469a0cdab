/** For tests: runs the program in this process, with recorded output and a fake clock. */
import { bufferedOutput, FORMATS, programEnvironment } from '@vmblock/cli'
import { main, type Services } from './main.ts'
import { cutLines } from './session/lines.ts'

/** The result of a run. */
export interface RunResult {
  readonly status: number
  readonly out: string
  readonly err: string
  /** Both streams, interleaved as in one pipe. */
  readonly merged: string
}

/** The parts that a test may replace. */
export interface RunOptions {
  /** Standard input. */
  readonly input?: string
  readonly services?: Partial<Services>
}

/** Nanoseconds that every request takes. */
export const TICK = 50_000_000

/** Services without a file system, and with a clock that advances at each query. */
export function testServices(): Services {
  let time = 0
  return {
    environment: programEnvironment,
    formats: FORMATS,
    now: () => (time += TICK),
    sleep: (milliseconds, until) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, milliseconds)
        until?.addEventListener('abort', () => {
          clearTimeout(timer)
          resolve()
        })
      }),
    readFile: () => Promise.reject(Object.assign(new Error('no such file'), { code: 'ENOENT' })),
  }
}

/** Runs the program on arguments. */
export async function runMain(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  let [out, err, merged] = ['', '', '']
  const output = bufferedOutput(
    (text) => {
      out += text
      merged += text
    },
    (text) => {
      err += text
      merged += text
    },
    false,
  )
  const chunk = new TextEncoder().encode(options.input ?? '')
  const lines = cutLines(
    (async function* () {
      if (chunk.length > 0) yield chunk
    })(),
  )
  const input = {
    async nextLine(prompt: string): Promise<string | undefined> {
      output.print(prompt)
      output.flush()
      const { value } = await lines.next()
      return value ?? undefined
    },
  }
  const status = await main(argv, { output, input }, { ...testServices(), ...options.services })
  return { status, out, err, merged }
}

/** Runs commands, each as a `-c`, on a disk of one mebibyte in memory, or on the image given by `image`. */
export function runCommands(
  commands: readonly string[],
  image: readonly string[] = ['--image-opts', 'driver=memory,size=1M'],
  options: RunOptions = {},
): Promise<RunResult> {
  return runMain([...commands.flatMap((command) => ['-c', command]), ...image], options)
}
