/**
 * Our programs in this process: no start-up cost, and `abort` crashes the block nodes instead of the process.
 * @module
 */
import { readFile, realpath } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { programEnvironment as imgEnvironment, main as qemuImg } from '@vmblock/qemu-img-ts'
import {
  bufferedOutput,
  type CommandInput,
  cutLines,
  FORMATS,
  programEnvironment,
  main as qemuIo,
} from '@vmblock/qemu-io-ts'
import type { Run, RunOptions, Subject } from './subject.ts'

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text)
}

function linesOf(text: string): CommandInput {
  const lines = cutLines(once(text))
  return {
    async nextLine() {
      const { value } = await lines.next()
      return value ?? undefined
    },
  }
}

/** Joins both output streams into one text, buffered as the processes buffer them. */
function joined() {
  const parts: string[] = []
  const collect = (text: string): void => void parts.push(text)
  return { output: bufferedOutput(collect, collect, false), text: () => parts.join('') }
}

/** A clock that stands still: reports differ only in their timing, and with it not even there. */
const STILL = (): number => 0

async function io(args: readonly string[], { input = '' }: RunOptions = {}): Promise<Run> {
  const { output, text } = joined()
  const services = {
    environment: programEnvironment,
    formats: FORMATS,
    now: STILL,
    sleep: (milliseconds: number, until?: AbortSignal) =>
      delay(milliseconds, undefined, until ? { signal: until } : {}).catch(() => undefined),
    readFile: async (path: string, limit: number) => (await readFile(path)).subarray(0, limit),
  }
  const code = await qemuIo(args, { output, input: linesOf(input) }, services)
  return { code, text: text() }
}

async function img(args: readonly string[]): Promise<Run> {
  const { output, text } = joined()
  const drivers = imgEnvironment({
    readText: (path) => readFile(path, 'utf8'),
    print: (line) => output.print(`${line}\n`),
  })
  const code = await qemuImg(args, output, {
    ...drivers,
    realPath: (path) => realpath(path).catch(() => undefined),
  })
  return { code, text: text() }
}

/** Both programs. */
export function inProcessSubject(): Subject {
  return { name: 'in-process', ours: true, io, img }
}
