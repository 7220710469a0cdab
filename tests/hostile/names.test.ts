/** Names in images: of the image itself, in any form, and of formats that do not exist. */
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BlockError, formatImage, type OpenEnvironment, openMemory, openNode } from '@vmblock/block-core'
import { nodeHost } from '@vmblock/block-core/node'
import { toBytes } from '@vmblock/block-core/testing'
import { FORMATS, programEnvironment } from '@vmblock/cli'
import { qcow2 } from '@vmblock/qcow2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runOurs } from '../../packages/qemu-img-ts/src/testing/two-programs.ts'
import { runMain } from '../../packages/qemu-io-ts/src/testing.ts'
import { haveQemu, openBench } from '../support/real-qemu.ts'

const bench = openBench()
const home = process.cwd()
beforeAll(() => process.chdir(bench.directory))
afterAll(() => {
  process.chdir(home)
  bench.remove()
})

const create = async (...words: string[]): Promise<void> => {
  expect(await runOurs(['create', '-q', ...words])).toMatchObject({ err: '', status: 0 })
}
const write = (name: string) => runMain(['-c', 'write 0 64k', '-f', 'qcow2', name])
const read = (name: string) => runMain(['-r', '-c', 'read 0 64k', '-f', 'qcow2', name])

const LOCKED = /^qemu-i.*: Failed to get (shared )?"write" lock/
const LOOP = /creates an infinite loop\.\n$/
/** A writer meets its own lock, or detects the loop, whichever comes first. */
const REFUSED = new RegExp(`${LOCKED.source}|${LOOP.source}`)

describe.each(['its own name', 'a hard link', 'a symbolic link'])(
  'an image that names itself, by %s,',
  (way) => {
    /** The name by which an image refers to itself. */
    const nameOf = (image: string): string => {
      if (way === 'its own name') return image
      const name = `${image}-again`
      if (way === 'a hard link') linkSync(image, name)
      else symlinkSync(image, name)
      return name
    }
    const images = way.replaceAll(' ', '-')

    test('as its data file, is not written, as by QEMU', async () => {
      const path = `${images}-data`
      const placeholder = 'the-name-of-a-data-file-that-is-longer-than-any'
      await create('-f', 'qcow2', '-o', `data_file=${placeholder}`, path, '1M')
      const name = nameOf(path)
      const bytes = readFileSync(path)
      bytes.write(name.padEnd(placeholder.length, '\0'), bytes.indexOf(placeholder))
      writeFileSync(path, bytes)
      expect((await write(path)).err).toMatch(REFUSED)
      for (const words of [
        ['check', '-r', 'all', path],
        ['resize', path, '2M'],
        ['amend', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path],
      ])
        expect((await runOurs(words)).err).toMatch(LOCKED)
      expect(readFileSync(path)).toEqual(bytes)
      if (haveQemu) expect(bench.attempt('qemu-io', '-c', 'write 0 1', path).stderr).toContain('lock')
      expect((await runOurs(['info', path])).out).toContain(`data file: ${name}`)
    })

    test('as its backing file, directly and below other nodes, is not opened', async () => {
      const path = `${images}-backing`
      const trees = (file: string): object[] => [
        { driver: 'qcow2', file },
        { driver: 'raw', file },
        { driver: 'raw', file: { driver: 'qcow2', file } },
        { driver: 'pass-through', file: { driver: 'qcow2', file } },
      ]
      writeFileSync(path, '')
      const name = nameOf(path)
      for (const tree of trees('FILE')) {
        const text = JSON.stringify(tree).replace('"FILE"', `{"driver":"file","filename":"${name}"}`)
        await create('-f', 'qcow2', '-u', '-b', `json:${text}`, '-F', 'raw', `${path}.new`, '1M')
        writeFileSync(path, readFileSync(`${path}.new`))
        expect((await write(path)).err).toMatch(REFUSED)
        expect((await read(path)).err).toMatch(LOOP)
        expect((await runOurs(['map', path])).err).toMatch(LOOP)
        expect((await runOurs(['commit', path])).err).toMatch(REFUSED)
      }
    })
  },
)

test('a backing format may be any word; in a confined directory none leads out of it', async () => {
  mkdirSync('inside')
  writeFileSync('secret', 'secret'.repeat(1000))
  writeFileSync('inside/base', 'x'.repeat(6000))
  const { registry } = programEnvironment({ print: () => undefined, readText: async () => '' })
  const environment: OpenEnvironment = {
    registry,
    host: nodeHost({ directory: join(bench.directory, 'inside') }),
  }
  const makeImage = async (name: string, format: string): Promise<void> => {
    const file = openMemory(new Uint8Array(0))
    await formatImage(qcow2, file, { size: 2 ** 20, backingFile: name, backingFmt: format })
    writeFileSync('inside/top', await toBytes(file))
  }
  // A header has room for 15 bytes.
  const known = FORMATS.filter((name) => name.length <= 15)
  const formats = [...known, 'nbd', 'file:secret', '../secret', 'json:{}', '__proto__', 'toString']
  const names = ['base', 'json:{"driver":"file","filename":"secret"}', 'file:secret', '../secret']
  const opened: string[] = []
  for (const [format, name] of formats.flatMap((format) => names.map((name) => [format, name] as const))) {
    await makeImage(name, format)
    const node = await openNode(environment, 'inside/top').catch((error: unknown) => {
      expect(error).toBeInstanceOf(BlockError)
      return undefined
    })
    if (!node) continue
    const into = new Uint8Array(6)
    if (format === 'snapshot-access') {
      // It opens over anything, and reads only from a filter that keeps a snapshot.
      await expect(node.read(0, into)).rejects.toMatchObject({ code: 'ENOTSUP' })
      await node.close()
      continue
    }
    await node.read(0, into)
    expect([format, name, new TextDecoder().decode(into)]).toEqual([format, 'base', 'xxxxxx'])
    opened.push(format)
    await node.close()
  }
  expect(opened).toContain('raw')
})
