/** Threads of one process and one image: one writes, with and without the operating system's locks. */
import { linkSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { systemCalls } from '@vmblock/block-core/node'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'

const workshop = openBench()
const { directory } = workshop
const script = join(directory, 'thread.cjs')
beforeAll(async () => {
  const here = fileURLToPath(new URL('.', import.meta.url))
  if (systemCalls.locks) {
    mkdirSync(join(directory, 'node_modules'))
    const installed = realpathSync(join(here, '../../packages/block-core/node_modules/koffi'))
    symlinkSync(installed, join(directory, 'node_modules', 'koffi'), 'dir')
  }
  await build({
    absWorkingDir: here,
    bundle: true,
    entryPoints: [join(here, 'src', 'thread.ts')],
    platform: 'node',
    target: 'es2022',
    format: 'cjs',
    outfile: script,
    external: ['koffi'],
    logLevel: 'error',
    tsconfig: join(here, '..', '..', 'tsconfig.json'),
  })
})
afterAll(() => workshop.remove())

interface Opened {
  readonly answer: string
  close(): Promise<void>
  terminate(): Promise<unknown>
}

/** Starts a thread that opens an image, or fails to. */
async function inThread(filename: string, format: string, locks: boolean): Promise<Opened> {
  const worker = new Worker(script, { workerData: { filename, format, locks } })
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const answer = await new Promise<string>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  return {
    answer,
    close() {
      worker.postMessage('close')
      return ended
    },
    terminate: () => worker.terminate(),
  }
}

/** The marks and locks on a file that this process has left. */
function traces(path: string): string[] {
  const inode = statSync(path).ino
  const marks = readFileSync('/proc/net/unix', 'latin1').split('\n')
  const locks = readFileSync('/proc/locks', 'utf8').split('\n')
  return [
    ...marks.filter((line) => line.includes(`-${inode.toString(36)}_`)),
    ...locks.filter((line) => line.includes(`:${inode} `)),
  ]
}

const KINDS = [
  ['locks of the host', true],
  ['no locks of the host', false],
] as const

describe.skipIf(!haveQemu || process.platform !== 'linux').each(KINDS)('threads, with %s', (_, locks) => {
  test.skipIf(locks && !systemCalls.locks).each(['raw', 'qcow2'])(
    '%s is written by one of them',
    async (format) => {
      const name = `${format}-${locks}`
      workshop.run('qemu-img', 'create', '-q', '-f', format, name, '1M')
      const path = workshop.path(name)
      linkSync(path, `${path}.hard`)
      const first = await inThread(path, format, locks)
      expect(first.answer).toBe('opened')
      for (const called of [path, `${path}.hard`]) {
        const second = await inThread(called, format, locks)
        expect(second.answer).toBe('EBUSY')
        await second.terminate()
      }
      await first.close()
      const third = await inThread(path, format, locks)
      expect(third.answer).toBe('opened')
      await third.close()
      expect(traces(path)).toEqual([])
      expect(readdirSync(directory).filter((entry) => entry.startsWith(name))).toHaveLength(2)
    },
  )

  test.skipIf(locks)('what a terminated thread held is free, and nothing of it is left', async () => {
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'terminated', '1M')
    const path = workshop.path('terminated')
    const first = await inThread(path, 'qcow2', locks)
    expect(first.answer).toBe('opened')
    await first.terminate()
    const second = await inThread(path, 'qcow2', locks)
    expect(second.answer).toBe('opened')
    await second.close()
    expect(traces(path)).toEqual([])
  })
})
