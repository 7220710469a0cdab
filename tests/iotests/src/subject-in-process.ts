/**
 * Our programs in this very process: no start-up cost, and `abort` crashes the block nodes instead of anything else.
 * @module
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import {
  bufferedOutput,
  type CommandInput,
  cutLines,
  FORMATS,
  nodeEnvironment,
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

/** Reports differ in their timing alone; with a clock that stands still not even in that. */
const STILL = (): number => 0

async function io(args: readonly string[], { input = '' }: RunOptions = {}): Promise<Run> {
  const parts: string[] = []
  const collect = (text: string): void => void parts.push(text)
  const output = bufferedOutput(collect, collect, false)
  const code = await qemuIo(
    args,
    { output, input: linesOf(input) },
    {
      environment: nodeEnvironment,
      formats: FORMATS,
      now: STILL,
      sleep: (milliseconds, until) =>
        delay(milliseconds, undefined, until ? { signal: until } : {}).catch(() => undefined),
      readFile: async (path, limit) => (await readFile(path)).subarray(0, limit),
    },
  )
  return { code, text: parts.join('') }
}

/** Both programs. */
export function inProcessSubject(): Subject {
  return { name: 'in-process', ours: true, io, img: () => Promise.reject(new Error('not yet')) }
}
