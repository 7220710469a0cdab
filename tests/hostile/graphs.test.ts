/** Graphs of nodes that options or images describe: deep ones, and endless ones. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
  openMemory,
  openNode,
  passThrough,
  type RawOptions,
} from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runOurs } from '../../packages/qemu-img-ts/src/testing/two-programs.ts'

const registry = new DriverRegistry([raw, qcow2, file, memory, nullCo, passThrough])
const environment: OpenEnvironment = { registry, host: denyHost }

const KIB = 2 ** 10

async function refusal(options: NodeOptions | string, from = environment): Promise<string> {
  const error = await openNode(from, options).then(
    () => new Error('it was opened'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(BlockError)
  return (error as BlockError).message
}

/** Requests that pass through a whole graph. */
async function use(node: BlockNode): Promise<void> {
  await node.read(0, new Uint8Array(512))
  await node.write(100, new Uint8Array(1000))
  await node.writeZeroes(0, 4096)
  await node.blockStatus(0, 4096)
  await node.flush()
  await node.close()
}

describe('options', () => {
  const nested = (levels: number, key = 'a'): string =>
    `json:${`{"${key}":`.repeat(levels)}1${'}'.repeat(levels)}`

  test.each([
    ['brackets', `json:{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
    ['braces', nested(100_000)],
    ['braces, as many as JSON may have, with dots', nested(1000, Array.from('abcdefgh').join('.'))],
    ['dots', `json:{"${'a.'.repeat(100_000)}a":1}`],
  ])('nested too deep, by %s, are refused', async (_, text) => {
    expect(await refusal(text)).toMatch(/nesting depth|more than 1024 levels deep/)
  })

  test('of a graph that is too deep are refused; one as deep as may be can be used', async () => {
    const graph = (levels: number): RawOptions => {
      let options: RawOptions = { driver: 'memory', size: 64 * KIB }
      for (let i = 0; i < levels; i++) options = { driver: i % 2 ? 'raw' : 'pass-through', file: options }
      return options
    }
    expect(await refusal(graph(301))).toBe('The graph of nodes is more than 300 deep')
    await use(await openNode(environment, graph(300)))
  })

  test('of the longest chain, with filters, make one that can be used', async () => {
    let below: BlockNode | null = null
    for (let i = 0; i < 200; i++) {
      const image = openMemory(new Uint8Array(0))
      await formatImage(qcow2, image, { size: 64 * KIB, clusterSize: 4096 })
      below = await openNode(environment, {
        driver: 'pass-through',
        file: { driver: 'qcow2', file: image, backing: below },
      })
    }
    await use(below!)
  })
})

describe('images', () => {
  const home = process.cwd()
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
  const world = { registry, host: nodeHost() }
  beforeAll(() => process.chdir(directory))
  afterAll(() => {
    process.chdir(home)
    rmSync(directory, { recursive: true })
  })

  const create = async (name: string, backing: string, ...more: string[]): Promise<void> => {
    const named = backing === '' ? [] : ['-u', '-b', backing, '-F', 'qcow2']
    const words = ['create', '-q', '-f', 'qcow2', ...named, ...more, name, '64K']
    expect(await runOurs(words)).toMatchObject({ err: '', status: 0 })
  }

  test('whose names hold deep trees, one below the other, are refused before they are too many', async () => {
    for (let i = 0; i < 20; i++) {
      const levels = 30
      const name = `json:${'{"driver":"raw","file":'.repeat(levels)}{"driver":"qcow2","file":{"driver":"file","filename":"deep${i + 1}"}}${'}'.repeat(levels)}`
      await create(`deep${i}`, name, '-F', 'raw')
    }
    expect(await refusal('deep0', world)).toMatch(/more than 300 deep$/)
  })

  test('that name two others each, and those two others, are refused before they are millions', async () => {
    for (let level = 0; level < 30; level++) {
      const next = JSON.stringify({
        driver: 'qcow2',
        file: { driver: 'file', filename: `left${level + 1}` },
        'data-file': { driver: 'qcow2', file: { driver: 'file', filename: `right${level + 1}` } },
      })
      await create(`left${level}`, `json:${next}`, '-o', 'data_file=data')
      await create(`right${level}`, `json:${next}`)
    }
    await create('left30', '', '-o', 'data_file=data')
    await create('right30', '')
    expect(await refusal('left0', world)).toMatch(/The images name more than 400 files$/)
  })
})
