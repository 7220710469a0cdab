/**
 * Errors of the file, at each request in turn, while the key slots of an image change: a passphrase that was not to go
 * opens it afterwards, one that was erased does not, and what was written is there.
 */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { qcow2 } from '../driver.ts'
import { KEY, type KeyRule, LUKS, requireKeys } from '../testing/encrypted-scenarios.ts'
import { FaultyRequests } from '../testing/faulty-requests.ts'
import { createImage, environment, filled, findings, open, sameBytes } from '../testing/images.ts'

const SIZE = LUKS.size
/** Of the passes that overwrite an erased slot, one in so many fails. */
const STRIDE = 37
/** Requests of a change before these passes. */
const CLOSE_LOOK = 8

const QUICK = { 'encrypt.iter-time': 1 }
const control = { checkpoint: () => undefined, report: () => undefined, force: true }

/** A change, and what each passphrase must do once it has succeeded, and after it failed. */
interface Change {
  readonly name: string
  readonly options: RawOptions
  readonly done: Readonly<Record<string, KeyRule>>
  readonly failed: Readonly<Record<string, KeyRule>>
  /** One of these opens the image whatever happened. */
  readonly oneOf: readonly string[]
}

/** Slot 0 opens with 'one', which opened the image, slot 6 with 'two'. */
const CHANGES: readonly Change[] = [
  {
    name: 'a key is added',
    options: { 'encrypt.state': 'active', 'encrypt.new-secret': 'three', 'encrypt.keyslot': 7, ...QUICK },
    done: { one: 'opens', two: 'opens', three: 'opens' },
    failed: { one: 'opens', two: 'opens', three: 'either' },
    oneOf: ['one'],
  },
  {
    name: 'a key is replaced',
    options: { 'encrypt.state': 'active', 'encrypt.new-secret': 'three', 'encrypt.keyslot': 6, ...QUICK },
    done: { one: 'opens', two: 'is refused', three: 'opens' },
    failed: { one: 'opens', two: 'either', three: 'either' },
    oneOf: ['two', 'three'],
  },
  {
    name: 'a key is erased',
    options: { 'encrypt.state': 'inactive', 'encrypt.keyslot': 6 },
    done: { one: 'opens', two: 'is refused' },
    failed: { one: 'opens', two: 'either' },
    oneOf: ['one'],
  },
  {
    name: 'the key that opened the image is erased',
    options: { 'encrypt.state': 'inactive', 'encrypt.old-secret': 'one' },
    done: { one: 'is refused', two: 'opens' },
    failed: { one: 'either', two: 'opens' },
    oneOf: ['two'],
  },
]

async function makeImage(): Promise<Uint8Array> {
  const file = await createImage({ ...LUKS, ...KEY })
  const node = await open(file, KEY)
  await node.write(0, filled(1, SIZE / 2))
  await node.amend({ 'encrypt.state': 'active', 'encrypt.new-secret': 'two', 'encrypt.keyslot': 6, ...QUICK })
  await node.close()
  return toBytes(file)
}

const keysOf = (rules: Readonly<Record<string, KeyRule>>): Map<string, KeyRule> =>
  new Map(Object.entries(rules))

/** Opens with the first passphrase that can. */
async function openWithAny(file: BlockNode, ids: readonly string[], what: string): Promise<BlockNode> {
  for (const id of ids) {
    const node = await open(file, { 'encrypt.key-secret': id }).catch(() => undefined)
    if (node) return node
  }
  throw new Error(`${what}: none of ${ids} opens the image`)
}

const image = await makeImage()

describe.each(CHANGES)('an error while $name', ({ options, done, failed, oneOf }) => {
  test.each([
    ['one request fails, and the process dies', 1, 'EIO', true],
    ['all fail from then on', Number.MAX_SAFE_INTEGER, 'ENOSPC', false],
  ] as const)('%s', { timeout: 120_000 }, async (name, count, code, dies) => {
    let first = 0
    for (let isReached = true; isReached; first += first < CLOSE_LOOK ? 1 : STRIDE) {
      const what = `${name}, at ${first}`
      const file = openMemory(image.slice())
      const faults = new FaultyRequests(first, count, code)
      const node = await openNode(
        { ...environment, registry: new DriverRegistry([memory, faults.driver, qcow2]), host: denyHost },
        { driver: 'qcow2', file: { driver: 'faults', file }, ...KEY },
      )
      faults.seen = 0
      const isDone = await node.amend(options, control).then(
        () => true,
        () => false,
      )
      isReached = faults.seen > first
      expect(isDone, what).toBe(!isReached)
      await (dies ? node.crash() : node.close().catch(() => node.crash()))
      await requireKeys(file, keysOf(isDone ? done : failed)).catch((error: Error) => {
        throw new Error(`${what}: ${error.message}`)
      })
      const again = await openWithAny(file, oneOf, what)
      expect(sameBytes((await toBytes(again)).subarray(0, SIZE / 2), filled(1, SIZE / 2)), what).toBe(true)
      await again.write(0, filled(1, SIZE / 2))
      await again.close()
      const key = { 'encrypt.key-secret': 'two' in done && done['two'] === 'opens' ? 'two' : 'one' }
      expect(await findings(file, key), what).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 })
    }
    expect(first).toBeGreaterThan(4)
  })
})
