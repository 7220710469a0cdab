/**
 * The benchmarks, run briefly as their users run them: their output and saved results, and that they leave
 * nothing behind.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { GrowthResults } from './growth/run.ts'
import type { Results } from './report/results.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

let directory: string
let images: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
  images = join(directory, 'images')
  mkdirSync(images)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const start = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ['scripts/bench.mjs', ...args, '--dir', images, '--memory-dir', images], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })

interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function ended(child: ChildProcess): Promise<Ended> {
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      said[name] += text
    })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, ...said }))
  })
}

test('rows that a word selects, as table, JSON and picture', async () => {
  const [json, svg] = [join(directory, 'a.json'), join(directory, 'a.svg')]
  const words = ['read-4k-qcow2-d1', 'allocate-4k-lazy-writethrough-d64', 'start-info', 'convert-zstd-raw']
  const { status, stdout, stderr } = await ended(start(['--quick', ...words, '--json', json, '--svg', svg]))
  expect(status, stderr).toBe(0)
  expect(stdout).toContain('| read 4 KiB qcow2, depth 1 ')
  expect(stdout).not.toContain('overwrite')
  const results = JSON.parse(readFileSync(json, 'utf8')) as Results
  expect(results.rows.map(({ id }) => id)).toEqual([
    'read-4k-qcow2-d1',
    'allocate-4k-lazy-writethrough-d64',
    'convert-zstd-raw',
    'start-info',
  ])
  const [runtime] = results.runtimes
  expect(runtime?.version).toBe(process.versions.node)
  for (const { id, samples, state } of results.rows.filter(({ id }) => !id.startsWith('convert'))) {
    expect(state, id).toBe('measured')
    expect(samples[runtime!.id], id).toHaveLength(1)
    expect(samples[runtime!.id]![0]!.wall, id).toBeGreaterThanOrEqual(0)
  }
  expect(results.rows[1]!.counts![runtime!.id]!.dataWrites).toBeGreaterThan(0)
  expect(readFileSync(svg, 'utf8')).toContain('read 4 KiB qcow2, depth 1')
  expect(readdirSync(images)).toEqual([])

  const again = await ended(start(['--from', json]))
  expect(again.stdout).toBe(stdout)
})

test('interrupted, it ends what it started and removes its images', async () => {
  const child = start(['read-4k-qcow2-d1', '--rounds', '1000'])
  const end = ended(child)
  const watcher = watch(images, () => {
    watcher.close()
    child.kill('SIGINT')
  })
  const { status } = await end
  expect(status).toBe(130)
  expect(readdirSync(images)).toEqual([])
})

test('how costs grow: counts are exact', async () => {
  const [json, svg] = [join(directory, 'g.json'), join(directory, 'curves')]
  const { status, stderr } = await ended(start(['growth', 'chain', '--quick', '--json', json, '--svg', svg]))
  expect(status, stderr).toBe(0)
  const { dimensions } = JSON.parse(readFileSync(json, 'utf8')) as GrowthResults
  const [chain] = dimensions
  expect(chain!.points.map(({ point }) => point)).toEqual([1, 5])
  for (const { point, figures } of chain!.points) {
    // Every image of the chain is looked up once, and one file is read.
    expect(figures['read layers']).toBe(point)
    expect(figures['read reads']).toBe(1)
  }
  expect(readdirSync(svg)).toEqual(['growth-chain.svg'])
  expect(readFileSync(join(svg, 'growth-chain.svg'), 'utf8')).not.toMatch(/NaN|Infinity/)
  expect(readdirSync(images)).toEqual([])
})

test('words that no row has are an error', async () => {
  const { status, stderr } = await ended(start(['no-such-row']))
  expect(status).toBe(1)
  expect(stderr).toContain('no-such-row')
})
