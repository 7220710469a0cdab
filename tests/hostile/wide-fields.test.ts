/** 64-bit fields past 2^53-1 are refused by name, and never rounded, on disks and on command lines. */
import { BlockError, type BlockNode, openMemory, openNode, type RawOptions } from '@vmblock/block-core'
import { parseOptions, size } from '@vmblock/block-core/driver'
import { toBytes } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { runOurs } from '../../packages/qemu-img-ts/src/testing/two-programs.ts'
import { runMain } from '../../packages/qemu-io-ts/src/testing.ts'
import { openBench } from '../support/real-qemu.ts'
import { environment } from './src/exercise.ts'
import { makeSeeds, type Seed } from './src/seeds.ts'
import { WIDE_FIELDS, WIDE_VALUES, type WideField } from './src/wide-fields.ts'

const seeds = await makeSeeds()
const bench = openBench()
afterAll(() => bench.remove())

/** Digits that a 64-bit number shows after rounding to a double. */
const ROUNDED = /9223372036854776000|18446744073709552000|0x10000000000000000|Infinity|NaN|e\+\d/

function pokedImage({ little, at }: WideField, { bytes }: Seed, value: bigint): Uint8Array {
  const poked = bytes.slice()
  const view = new DataView(poked.buffer)
  view.setBigUint64(at(view), value, little === true)
  return poked
}

const refusal = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

/** The output of a check: its report's lines, and its error. */
async function checked(node: BlockNode): Promise<string> {
  const lines: string[] = []
  const found = await node
    .check({ report: ({ message }) => lines.push(message) })
    .catch((error: unknown) => error)
  if (found instanceof Error) lines.push(found.message)
  else if ((found as { corruptions: number }).corruptions > 0) lines.push('corruptions')
  return lines.join('\n')
}

describe.each(WIDE_FIELDS)('$name', (field) => {
  const seed = seeds.find(({ name }) => name === field.seed)

  test.skipIf(!seed).each(field.values ?? WIDE_VALUES)('0x%x', async (value) => {
    const { driver } = seed!
    const bytes = pokedImage(field, seed!, value)
    const open = (more: RawOptions) => openNode(environment, { driver, file: openMemory(bytes), ...more })
    const expectRefusal = (error: unknown): void => {
      expect(error).toBeInstanceOf(BlockError)
      expect((error as BlockError).message).toMatch(field.says ?? /./)
      expect((error as BlockError).message).not.toMatch(ROUNDED)
    }
    if (field.met === 'open') {
      expectRefusal(await refusal(open({})))
      return expectRefusal(await refusal(open({ readOnly: true })))
    }
    const reader = await open({ readOnly: true })
    const report = await checked(reader)
    expect(report).not.toMatch(ROUNDED)
    if (field.met === 'read') expectRefusal(await refusal(reader.read(0, new Uint8Array(4096))))
    if (field.met === 'check') expect(report).toMatch(field.says ?? /./)
    await reader.close()
    if (field.refusesWriting) return expectRefusal(await refusal(open({})))
    const file = openMemory(bytes)
    const writer = await openNode(environment, { driver, file })
    const error = await refusal(writer.write(0, new Uint8Array(512).fill(1)))
    if (field.met === 'write') expectRefusal(error)
    await refusal(writer.close())
    if (field.met !== 'kept') return
    const at = field.at(new DataView(bytes.buffer))
    expect(new DataView((await toBytes(file)).buffer).getBigUint64(at)).toBe(value)
  })
})

describe('a number of the user', () => {
  const TOO_MUCH = [
    '9007199254740992',
    '9007199254740993',
    '9223372036854775808',
    '18446744073709551615',
    '8192T',
    '8E',
    '0x20000000000000',
  ]

  test.each(TOO_MUCH)('%s is refused as an option, by name', (text) => {
    expect(() => parseOptions({ bytes: size('') }, { bytes: text })).toThrow(/bytes/)
    expect(() => parseOptions({ bytes: size('') }, { bytes: 2 ** 53 })).toThrow(/bytes/)
  })

  test.each(TOO_MUCH)('%s is refused in json:, by name', async (text) => {
    const number = /^\d+$/.test(text) ? text : JSON.stringify(text)
    for (const name of [
      `json:{"driver":"raw","offset":${number},"file":{"driver":"memory","size":1024}}`,
      `json:{"driver":"memory","size":${number}}`,
    ]) {
      const error = await refusal(openNode(environment, name))
      expect(error).toBeInstanceOf(BlockError)
      expect((error as BlockError).message).toMatch(/offset|size/)
      expect((error as BlockError).message).not.toMatch(ROUNDED)
    }
  })

  test.each(TOO_MUCH)('%s is refused by qemu-img-ts', async (text) => {
    const path = bench.path('disk.qcow2')
    await runOurs(['create', '-q', '-f', 'qcow2', path, '1M'])
    for (const words of [
      ['create', '-f', 'raw', bench.path('new'), text],
      ['create', '-f', 'qcow2', bench.path('new'), text],
      ['create', '-f', 'qcow2', '-o', `size=${text}`, bench.path('new')],
      ['resize', path, text],
      ['resize', path, `+${text}`],
      ['map', '-s', text, path],
    ]) {
      const { err, status } = await runOurs(words)
      expect([words, status, err]).toEqual([words, 1, expect.stringMatching(/^qemu-img: .+/)])
      expect(err).not.toMatch(ROUNDED)
      expect(err).not.toMatch(/\n {4}at /)
    }
  })

  test.each(TOO_MUCH)('%s is refused by qemu-io-ts', async (text) => {
    for (const command of [
      `read ${text} 512`,
      `read 0 ${text}`,
      `write ${text} 512`,
      `write -z 0 ${text}`,
      `discard ${text} 512`,
      `truncate ${text}`,
      `alloc ${text} 1`,
      `aio_read ${text} 512`,
    ]) {
      const { merged } = await runMain(['-c', command, '--image-opts', 'driver=memory,size=1M'])
      expect([command, merged]).toEqual([command, expect.stringMatching(/\S/)])
      expect(merged).not.toMatch(/bytes at offset \d+\n\d/)
      expect(merged).not.toMatch(/\n {4}at /)
    }
  })
})
