/**
 * The content of a cluster or subcluster after every request in every possible state, over backing files of
 * every length, in every version.
 */

import { type BlockNode, openNode, type RawOptions } from '@vmblock/block-core'
import { opsOf } from '@vmblock/block-core/driver'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createImage, environment, filled, findings, pattern, SOUND, sameBytes } from '../testing/images.ts'

const CLUSTER = 16384
const SUB = CLUSTER / 32
/** Three clusters and a bit. */
const SIZE = 3 * CLUSTER + 1536

type Step = readonly [kind: 'write' | 'zero' | 'unmap' | 'discard' | 'flush', offset: number, bytes: number]

const STATES: Readonly<Record<string, readonly Step[]>> = {
  unallocated: [],
  written: [['write', 0, 2 * CLUSTER]],
  'one part written': [['write', CLUSTER + 4 * SUB, SUB]],
  'parts written apart': [
    ['write', CLUSTER, 100],
    ['write', CLUSTER + 7 * SUB + 10, SUB],
    ['write', 2 * CLUSTER - SUB, SUB],
  ],
  zero: [['unmap', CLUSTER, CLUSTER]],
  'zero, with its cluster kept': [
    ['write', CLUSTER, CLUSTER],
    ['zero', CLUSTER, CLUSTER],
  ],
  'zero in parts': [
    ['write', CLUSTER, 10 * SUB],
    ['zero', CLUSTER + 2 * SUB, 12 * SUB],
  ],
  'discarded, and freed': [
    ['write', CLUSTER, CLUSTER],
    ['discard', CLUSTER, CLUSTER],
    ['flush', 0, 0],
  ],
}

const REQUESTS: readonly Step[] = [
  ['write', CLUSTER, CLUSTER],
  ['write', CLUSTER + 4 * SUB, SUB],
  ['write', CLUSTER + 4 * SUB + 7, 100],
  ['write', CLUSTER + 3 * SUB + 100, 5 * SUB],
  ['write', CLUSTER - 300, CLUSTER + 900],
  ['write', SIZE - 700, 700],
  ['zero', CLUSTER, CLUSTER],
  ['unmap', CLUSTER, CLUSTER],
  ['zero', CLUSTER + 4 * SUB, SUB],
  ['unmap', CLUSTER + 3 * SUB, 6 * SUB],
  ['zero', CLUSTER + 4 * SUB + 9, 2 * SUB],
  ['unmap', 100, SIZE - 100],
  ['discard', CLUSTER, CLUSTER],
  ['discard', CLUSTER + 100, 2 * CLUSTER],
  ['discard', 0, SIZE],
]

const VARIETIES: readonly (readonly [string, RawOptions])[] = [
  ['subclusters', { extended_l2: 'on' }],
  ['whole clusters', {}],
  ['version 2', { compat: '0.10' }],
]

/** Backing files by their size in bytes. */
const BACKINGS: readonly (readonly [string, number | undefined])[] = [
  ['no backing file', undefined],
  ['a backing file that ends within a subcluster', CLUSTER + 3 * SUB + 512],
  ['a longer backing file', 5 * CLUSTER],
]

/** Applies a step to the node and to the expected content. */
async function apply(
  node: BlockNode,
  model: Uint8Array,
  [kind, offset, bytes]: Step,
  seed: number,
): Promise<void> {
  switch (kind) {
    case 'write': {
      const data = pattern(bytes, seed)
      await node.write(offset, data)
      model.set(data, offset)
      return
    }
    case 'zero':
    case 'unmap':
      await node.writeZeroes(offset, bytes, { mayUnmap: kind === 'unmap' })
      model.fill(0, offset, offset + bytes)
      return
    case 'discard': {
      await node.discard(offset, bytes)
      const version2 = model.length > 0 && opsOf(node).zeroFlags === undefined
      if (version2 && node.backing) return // with a backing file, nothing is discarded
      const from = Math.ceil(offset / CLUSTER) * CLUSTER
      const to = offset + bytes === SIZE ? SIZE : Math.floor((offset + bytes) / CLUSTER) * CLUSTER
      if (from < to) model.fill(0, from, to)
      return
    }
    case 'flush':
      await node.flush()
  }
}

describe.each(VARIETIES)('%s', (_, create) => {
  describe.each(BACKINGS)('over %s', (_name, length) => {
    const isDivided = create['extended_l2'] !== undefined
    test.each(Object.keys(STATES))('a cluster that is %s', async (state) => {
      for (const [index, request] of REQUESTS.entries()) {
        // Without subclusters there are fewer states, among which the requests are divided.
        if (!isDivided && (index + Object.keys(STATES).indexOf(state)) % 2 === 1) continue
        const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...create })
        const backing =
          length === undefined ? null : await openNode(environment, { driver: 'memory', size: length })
        const model = new Uint8Array(SIZE)
        if (backing) {
          await backing.write(0, pattern(length!, 42))
          model.set(pattern(length!, 42).subarray(0, SIZE))
        }
        const options = { driver: 'qcow2', discard: 'unmap', file, backing } as const
        const node = await openNode(environment, options)
        for (const [i, step] of STATES[state]!.entries()) await apply(node, model, step, 100 + i)
        await apply(node, model, request, 200 + index)
        expect(sameBytes(await toBytes(node), model), request.join(' ')).toBe(true)
        await apply(node, model, ['write', CLUSTER + 6 * SUB + 3, 40], 300)
        await node.close()
        const again = await openNode(environment, { ...options, readOnly: true })
        expect(sameBytes(await toBytes(again), model), `${request.join(' ')}, reopened`).toBe(true)
        await again.close()
        expect(await findings(file), request.join(' ')).toMatchObject(SOUND)
      }
    })
  })
})

describe('zeroing', () => {
  const hostOf = async (node: BlockNode, offset: number): Promise<number | undefined> =>
    (await node.blockStatus(offset, 512)).host?.offset

  test('keeps the cluster, or gives it up where it may', async () => {
    for (const mayUnmap of [false, true]) {
      const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
      const node = await openNode(environment, { driver: 'qcow2', discard: 'unmap', file })
      await node.write(0, filled(1, CLUSTER))
      const host = await hostOf(node, 0)
      await node.writeZeroes(0, CLUSTER, { mayUnmap })
      expect(await hostOf(node, 0)).toBe(mayUnmap ? undefined : host)
      expect(await node.blockStatus(0, CLUSTER)).toMatchObject({ allocated: true, zero: true, data: false })
      await node.write(0, filled(2, 10))
      await node.close()
      expect(await findings(file)).toMatchObject(SOUND)
    }
  })

  test('without a fallback is refused where data would have to be written', async () => {
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
    const node = await openNode(environment, { driver: 'qcow2', file })
    await node.write(0, filled(1, CLUSTER))
    await expect(node.writeZeroes(100, 100, { noFallback: true })).rejects.toMatchObject({ code: 'ENOTSUP' })
    await node.close()
  })
})

describe('a discard', () => {
  test.each([
    ['1.1', undefined, { allocated: true, zero: true }],
    ['1.1', 4 * CLUSTER, { allocated: true, zero: true }],
    ['0.10', undefined, { allocated: false, zero: true }],
    ['0.10', 4 * CLUSTER, { allocated: true, data: true }],
  ] as const)('in compat %s over a backing file of %s bytes', async (compat, length, status) => {
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER, compat })
    const backing =
      length === undefined ? null : await openNode(environment, { driver: 'memory', size: length })
    const node = await openNode(environment, { driver: 'qcow2', discard: 'unmap', file, backing })
    await node.write(0, filled(1, CLUSTER))
    await node.discard(0, CLUSTER)
    expect(await node.blockStatus(0, CLUSTER)).toMatchObject(status)
    await node.close()
  })

  test('changes nothing where nothing is, nor what reads as zeroes already', async () => {
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
    const node = await openNode(environment, { driver: 'qcow2', discard: 'unmap', file })
    await node.writeZeroes(0, CLUSTER)
    await node.flush()
    const before = await toBytes(file)
    await node.discard(0, SIZE)
    await node.flush()
    expect(sameBytes(await toBytes(file), before)).toBe(true)
    await node.close()
  })
})
