/**
 * SIGKILL in the middle of a write stream, and again during the next open, which may be repairing: flushed
 * data is intact, and an image that is not dirty has leaks at most.
 */
import { spawn } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createRandom, optionsText, type TestedFormat, type TestedVariety } from '@vmblock/block-core/testing'
import { CACHE_MODES, type CacheMode } from '@vmblock/cli'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { takes, varietiesFor } from '../support/formats.ts'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import { countsIn, realCheck, requireContent, requireSound } from './src/agreement.ts'
import { KillJudge } from './src/kill-judge.ts'
import { KILL_DISK, type KillOrder } from './src/kill-plan.ts'
import { checkOurs, contentOf, openOurs } from './src/ours.ts'
import { withSeeds } from './src/settings.ts'
import { make } from './src/varieties.ts'

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const workshop = openBench()
const worker = workshop.path('worker.mjs')

beforeAll(() =>
  build({
    entryPoints: [here('src/kill-worker.ts')],
    outfile: worker,
    bundle: true,
    platform: 'node',
    format: 'esm',
    tsconfig: here('../../tsconfig.json'),
  }),
)
afterAll(() => workshop.remove())

/** Runs of each case; long runs multiply it. */
const RUNS = Number(process.env['KILL_RUNS'] ?? 1)

/**
 * Kills the process once it has reported `enough` finished steps (0: the open of the image).
 *
 * @returns its report
 */
function runAndKill(order: KillOrder, enough: number): Promise<string[]> {
  const child = spawn(process.execPath, [worker, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  let complaints = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
    // By its id, so that no other process is killed; the process itself gets no notice.
    if (said !== '' && (said.match(/^done/gm)?.length ?? 0) >= enough) child.kill('SIGKILL')
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (_, signal) => {
      if (signal === 'SIGKILL') resolve(said.split('\n').slice(0, -1))
      else reject(new Error(`the process died by itself: ${complaints}`))
    })
  })
}

interface Kind {
  readonly format: TestedFormat
  readonly variety: TestedVariety
  readonly cache: CacheMode
  readonly backing: boolean
}

/** Checks that an image has leaks at most, unless it is marked dirty. */
function requireHarmless(
  bench: Bench,
  name: string,
  { driver: { name: format }, checks }: TestedFormat,
): { readonly dirty: boolean } {
  if (checks === 'no') return { dirty: false }
  const info = JSON.parse(bench.run('qemu-img', 'info', '-f', format, '--output=json', name)) as {
    readonly 'dirty-flag': boolean
  }
  const outcome = realCheck(bench, name, format)
  const counts = countsIn(outcome)
  const harm = (counts['corruptions'] ?? 0) + (counts['check-errors'] ?? 0)
  if (harm > 0 && !info['dirty-flag']) throw new Error(`qemu-img check: ${outcome.stderr}${outcome.stdout}`)
  return { dirty: info['dirty-flag'] }
}

async function killTwice({ format: tested, variety, cache, backing }: Kind, seed: number): Promise<void> {
  const { driver, discards, checks } = tested
  const format = driver.name
  const random = createRandom(seed)
  const bench = openBench()
  try {
    const cluster = random.pick([4096, 65536])
    const initial = backing ? random.bytes(KILL_DISK) : new Uint8Array(KILL_DISK)
    if (backing) bench.write('base.raw', initial)
    await make({ bench, maker: 'our create', random }, 'disk', format, KILL_DISK, {
      ...(takes(tested, 'cluster_size') && { cluster_size: String(cluster) }),
      ...variety.create,
      ...(backing && { backing_file: 'base.raw', backing_fmt: 'raw' }),
    })
    const path = bench.path('disk')
    const mayBeDirty = variety.dirty === 'all' || (variety.dirty === 'without backing file' && !backing)
    let disk = initial
    let dirty = false
    for (const enough of [random.int(1, 250), random.pick([0, 0, 1, random.int(1, 50)])]) {
      const aio = random.pick(['adaptive', 'sync', 'threads'])
      const order: KillOrder = {
        path,
        format,
        discards,
        cache,
        aio,
        cluster,
        seed: random.int(0, 2 ** 31),
      }
      const lines = await runAndKill(order, enough)
      const judge = new KillJudge(order, lines, !CACHE_MODES[cache].writeCache)
      dirty = requireHarmless(bench, 'disk', tested).dirty
      expect(dirty && !mayBeDirty, 'only an image that postpones something is dirty').toBe(false)
      const before = disk
      disk = await contentOf(path, format)
      judge.judge(disk, before)
    }
    await requireContent(bench, 'disk', format, disk)

    // A whole cluster: around part of one, QEMU's QED would copy backing data that zeroes hide.
    copyFileSync(path, bench.path('theirs'))
    bench.run('qemu-io', '-f', format, '-c', `write -P 7 0 ${cluster}`, 'theirs')
    const node = await openOurs(path, format)
    await node.write(0, new Uint8Array(cluster).fill(7))
    await node.close()
    disk.fill(7, 0, cluster)
    for (const name of ['disk', 'theirs']) {
      expect(
        requireHarmless(bench, name, tested).dirty,
        `${name} is clean once it was repaired and closed`,
      ).toBe(false)
      // A repair leaves no leaks; an eager image keeps them until a check removes them, a QED image for good.
      if (!dirty && checks !== 'no') await checkOurs(bench.path(name), 'leaks', format)
      if (checks === 'leaks go') await requireSound(bench, name, format)
      await requireContent(bench, name, format, disk)
    }
  } finally {
    bench.remove()
  }
}

describe.skipIf(!haveQemu)('a process killed while it writes loses nothing that was flushed', () => {
  for (const cache of Object.keys(CACHE_MODES) as CacheMode[]) {
    for (const { format, variety } of varietiesFor('kills').filter(({ format }) => format.inQemu)) {
      for (const backing of takes(format, 'backing_file') ? [false, true] : [false]) {
        const kind = [cache, format.driver.name, optionsText(variety.create)].filter(Boolean).join(', ')
        const name = `${kind}${backing ? ', over a backing file' : ''}`
        test(name, { timeout: 600_000 }, async () => {
          let kills = 0
          const body = async (seed: number): Promise<void> => {
            await killTwice({ format, variety, cache, backing }, seed)
            kills += 2
          }
          await withSeeds(name, body, RUNS)
          console.log(`counted ${kills} kills: ${name}`)
        })
      }
    }
  }
})
