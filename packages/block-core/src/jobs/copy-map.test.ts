import { describe, expect, it } from 'vitest'
import { SECTOR } from '../base/bits.ts'
import type { BlockNode, BlockStatus } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { opsOf } from '../graph/node-internals.ts'
import { nodeOf } from '../testing/nodes.ts'
import { CopyMap, type CopyMapOptions } from './copy-map.ts'

const UNIT = 64 * 1024

/** The status of a unit, by its letter. */
const STATES: Readonly<Record<string, Omit<BlockStatus, 'bytes'>>> = {
  x: { allocated: true, data: true, zero: false },
  z: { allocated: true, data: false, zero: true },
  '.': { allocated: false, data: false, zero: false },
}

/** A disk of units, each a letter; reads give the number of the unit. */
function disk(units: string, { size = units.length * UNIT, cluster = 1, ...more } = {}): BlockNode {
  const ops: NodeOps = {
    size: () => size,
    async read(offset, into) {
      for (let i = 0; i < into.length; i++) into[i] = Math.floor((offset + i) / UNIT) + 1
    },
    async blockStatus(offset, bytes) {
      const unit = Math.floor(offset / UNIT)
      const end = [...units].findIndex((letter, index) => index > unit && letter !== units[unit])
      return {
        ...STATES[units[unit]!]!,
        bytes: Math.min(bytes, (end < 0 ? units.length : end) * UNIT - offset),
      }
    },
    info: async () => ({ clusterSize: cluster }),
    ...more,
  }
  return nodeOf(ops)
}

async function rangesOf(options: CopyMapOptions): Promise<string> {
  const map = await CopyMap.of(options)
  const said: string[] = []
  for await (const { offset, bytes, kind } of map.ranges())
    said.push(`${offset / UNIT}+${bytes / UNIT} ${kind}`)
  return said.join(', ')
}

describe('what a copy has to move', () => {
  it('is data, zeroes, and what lies beneath', async () => {
    const sources = [{ node: disk('xxz.x') }]
    expect(await rangesOf({ sources })).toBe('0+2 data, 2+1 zero, 3+1 data, 4+1 data')
    expect(await rangesOf({ sources, hasBeneath: true })).toBe('0+2 data, 2+1 zero, 3+1 beneath, 4+1 data')
  })

  it('is one source behind the other, in whole sectors', async () => {
    const odd = disk('x', { size: 1000 })
    const sources = [{ node: odd, bytes: 1024 }, { node: disk('zx') }, { node: odd, bytes: 1536 }]
    const map = await CopyMap.of({ sources })
    expect(map.size).toBe(1024 + 2 * UNIT + 1536)
    const ranges: object[] = []
    for await (const { offset, bytes, kind } of map.ranges()) ranges.push([offset, bytes, kind])
    expect(ranges).toEqual([
      [0, 1024, 'data'],
      [1024, UNIT, 'zero'],
      [1024 + UNIT, UNIT, 'data'],
      [1024 + 2 * UNIT, 1024, 'data'],
      [2048 + 2 * UNIT, 512, 'zero'],
    ])
    const bytes = new Uint8Array(map.size).fill(0xff)
    await map.read(0, bytes)
    const expected = new Uint8Array(map.size)
    expected
      .fill(1, 0, 1000)
      .fill(1, 1024, 1024 + UNIT)
      .fill(2, 1024 + UNIT, 1024 + 2 * UNIT)
    expected.fill(1, 1024 + 2 * UNIT, 2024 + 2 * UNIT)
    expect(bytes.findIndex((byte, at) => byte !== expected[at])).toBe(-1)
    expect(map.offsetInSource(1024 + UNIT)).toBe(UNIT)
  })

  it('ends where clusters end', async () => {
    const sources = [{ node: disk('xxxzzz', { cluster: 2 * UNIT }) }]
    // The cluster with both kinds becomes a separate query, from its start.
    expect(await rangesOf({ sources })).toBe('0+2 data, 2+1 data, 3+3 zero')
  })

  it('leaves zeroes to the end of what lies beneath', async () => {
    const sources = [{ node: disk('xzzzx') }]
    const ranges = await rangesOf({ sources, hasBeneath: true, beneathBytes: 2 * UNIT })
    expect(ranges).toBe('0+1 data, 1+1 zero, 2+2 beneath, 4+1 data')
  })

  it('looks at the layers above a base alone, and at zeroes behind its end', async () => {
    const base = disk('xx')
    const node = nodeOf(
      { ...opsOf(disk('.x...')), size: () => 5 * UNIT },
      { children: { backing: base } },
      'format',
    )
    const ranges = await rangesOf({ sources: [{ node, base }], hasBeneath: true })
    expect(ranges).toBe('0+1 beneath, 1+1 data, 2+3 zero')
  })

  it('is counted once, and remembered', async () => {
    let asked = 0
    const ops = opsOf(disk('xzx'))
    const node = nodeOf({
      ...ops,
      blockStatus(offset, bytes) {
        asked++
        return ops.blockStatus!(offset, bytes)
      },
    })
    const map = await CopyMap.of({ sources: [{ node }] })
    expect(await map.count(new Set(['data']))).toBe(2 * UNIT)
    const before = asked
    let bytes = 0
    for await (const range of map.ranges()) bytes += range.bytes
    expect([bytes, asked]).toEqual([3 * UNIT, before])
  })

  it('is asked for again where there is too much to remember', async () => {
    const size = 70_000 * SECTOR
    let asked = 0
    const node = nodeOf({
      size: () => size,
      read: async () => {},
      async blockStatus() {
        asked++
        return { bytes: SECTOR, allocated: true, data: true, zero: false }
      },
    })
    const map = await CopyMap.of({ sources: [{ node }] })
    expect(await map.count(new Set(['data']))).toBe(size)
    let bytes = 0
    for await (const range of map.ranges()) bytes += range.bytes
    expect([bytes, asked]).toEqual([size, 140_000])
  })

  it('is data where the status is unknown, if that shall be no failure', async () => {
    const bad = 3 * SECTOR
    const node = nodeOf({
      size: () => UNIT,
      read: async () => {},
      async blockStatus(offset, bytes) {
        if (offset <= bad && offset + bytes > bad) throw new Error('disk on fire')
        return { bytes, allocated: true, data: false, zero: true }
      },
    })
    const sources = [{ node: disk('x') }, { node }]
    await expect(rangesOf({ sources })).rejects.toThrow(
      'error while reading block status at offset 0: disk on fire',
    )
    const errors: number[] = []
    const map = await CopyMap.of({ sources, onStatusError: (offset) => errors.push(offset) })
    const kinds = { data: 0, zero: 0, beneath: 0 }
    for await (const { bytes, kind } of map.ranges()) kinds[kind] += bytes
    expect(errors).toEqual([bad])
    expect(kinds).toEqual({ data: UNIT + SECTOR, zero: UNIT - SECTOR, beneath: 0 })
  })
})
