/**
 * `convert -B` onto any backing file: the result reads as the source does; data that the backing chain of the
 * new image lacks is copied, and data that it already shows is not.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { openNode } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, it } from 'vitest'
import { nodeServices, runOurs } from './testing/two-programs.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'vmblock-beneath-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))
const at = (name: string): string => path.join(directory, name)
const run = async (words: string) => {
  const said = await runOurs(words.split(' ').map((word) => word.replace(/^@/, `${directory}/`)))
  if (said.status !== 0) throw new Error(`${words}: ${said.err}`)
}
const open = (name: string, more = {}) => openNode(nodeServices(), { filename: at(name), ...more })

const SEEDS = Array.from({ length: Number(process.env['CONVERT_SEEDS'] ?? 4) }, (_, index) => index + 1)
const CLUSTER = 4096
type Random = ReturnType<typeof createRandom>

async function content(name: string, driver: string): Promise<Uint8Array> {
  const node = await open(name, { driver, 'read-only': true })
  const bytes = new Uint8Array(node.size)
  await node.read(0, bytes)
  await node.close()
  return bytes
}

/** Writes data and zeroes at random offsets. */
async function scribble(random: Random, name: string, driver: string, count: number): Promise<void> {
  const node = await open(name, { driver })
  for (let i = 0; i < count; i++) {
    const offset = random.int(0, node.size / 512 - 1) * 512
    const bytes = Math.min(random.int(1, 25) * 512, node.size - offset)
    if (random.int(0, 4) === 0) await node.writeZeroes(offset, bytes, {})
    else await node.write(offset, new Uint8Array(bytes).fill(random.int(0, 4) === 0 ? 0 : random.int(1, 255)))
  }
  await node.close()
}

const sizeOf = (random: Random): number => random.int(16, 96) * CLUSTER

/** base <- mid <- top, of different sizes, and unrelated backing files. */
async function makeImages(random: Random): Promise<void> {
  for (const name of fs.readdirSync(directory)) fs.rmSync(at(name))
  await run(`create -q -f raw @base ${sizeOf(random)}`)
  await scribble(random, 'base', 'raw', 8)
  const make = async (name: string, backing: string, format: string): Promise<void> => {
    await run(
      `create -q -f qcow2 -o cluster_size=${CLUSTER} -b @${backing} -F ${format} @${name} ${sizeOf(random)}`,
    )
    await scribble(random, name, 'qcow2', 5)
  }
  await make('mid', 'base', 'raw')
  await make('top', 'mid', 'qcow2')
  await run(`create -q -f raw @stranger ${sizeOf(random)}`)
  await scribble(random, 'stranger', 'raw', 8)
  await run('convert -O raw @mid @copy')
  fs.symlinkSync(at('base'), at('link'))
}

const BACKINGS = [
  ['mid', 'qcow2'],
  ['base', 'raw'],
  ['link', 'raw'],
  ['stranger', 'raw'],
  ['copy', 'raw'],
  ['mid', 'raw'],
  ['top', 'qcow2'],
] as const
const OPTIONS = ['', '-S 0 ', '-S 64k ', '-W ', '--salvage ', '-m 1 ', '-U ']

describe.each(SEEDS)('convert -B, seed %i', (seed) => {
  it.each(BACKINGS)('onto %s as %s reads as its source', async (backing, format) => {
    const random = createRandom(seed)
    await makeImages(random)
    const wanted = await content('top', 'qcow2')
    for (const options of [random.pick(OPTIONS), random.pick(OPTIONS)]) {
      const named = `-O qcow2 -B ${at(backing)} -F ${format}`
      await run(`convert ${options}${named} @top @new`)
      expect(Buffer.compare(await content('new', 'qcow2'), wanted), options).toBe(0)
      // Into an existing image with its own content.
      await scribble(random, 'new', 'qcow2', 4)
      await run(`convert -n ${options}${named.replace(/ -F.*/, '')} @top @new`)
      expect(Buffer.compare(await content('new', 'qcow2'), wanted), `-n ${options}`).toBe(0)
    }
  })

  it('copies nothing that the backing file shows, whatever that is called and in whatever format', async () => {
    const random = createRandom(seed)
    await makeImages(random)
    const held = async (name: string): Promise<number> => {
      const node = await open(name, { driver: 'qcow2', backing: null, 'read-only': true })
      let bytes = 0
      for (let offset = 0; offset < node.size; ) {
        const status = await node.blockStatus(offset, node.size - offset)
        if (status.allocated) bytes += status.bytes
        offset += status.bytes
      }
      await node.close()
      return bytes
    }
    const into = async (name: string, backing: string, format: string): Promise<number> => {
      await run(`convert -O qcow2 -o cluster_size=${CLUSTER} -B ${at(backing)} -F ${format} @top @${name}`)
      return held(name)
    }
    const own = await into('a', 'mid', 'qcow2')
    expect(own).toBeLessThanOrEqual(await held('top'))
    expect(await into('b', 'copy', 'raw')).toBe(own)
  })
})
