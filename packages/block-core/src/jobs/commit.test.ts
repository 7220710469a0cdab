import { describe, expect, it } from 'vitest'
import { cow, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory } from '../drivers/memory.ts'
import { passThrough } from '../drivers/pass-through.ts'
import { opsOf } from '../graph/node-internals.ts'
import { openNode } from '../open/open.ts'
import { integer, type RawOptions } from '../text/options.ts'
import { commitNode } from './commit.ts'
import { Job } from './job.ts'

const UNIT = 65536

/** An overlay that keeps its content in a map of units; the backing file shows through the others. */
const overlay = defineDriver({
  name: 'overlay',
  kind: 'format',
  options: { units: integer('size in units', 4) },
  children: { file: storage, backing: cow },
  async open(context) {
    await context.requireChild('file')
    const backing = await context.child('backing')
    let size = context.options.units * UNIT
    const units = new Map<number, Uint8Array | 'zero'>()
    const ops: NodeOps = {
      limits: { requestAlignment: UNIT },
      zeroFlags: new Set(['mayUnmap']),
      size: () => size,
      async read(offset, into) {
        for (let at = 0; at < into.length; at += UNIT) {
          const unit = units.get((offset + at) / UNIT)
          const part = into.subarray(at, at + UNIT).fill(0)
          if (unit === undefined && backing && offset + at < backing.size)
            await backing.read(offset + at, part)
          else if (unit !== undefined && unit !== 'zero') part.set(unit)
        }
      },
      async write(offset, from) {
        for (let at = 0; at < from.length; at += UNIT)
          units.set((offset + at) / UNIT, from.slice(at, at + UNIT))
      },
      async writeZeroes(offset, bytes) {
        for (let at = 0; at < bytes; at += UNIT) units.set((offset + at) / UNIT, 'zero')
      },
      async blockStatus(offset) {
        const unit = units.get(Math.floor(offset / UNIT))
        return {
          bytes: UNIT,
          allocated: unit !== undefined,
          data: unit !== undefined && unit !== 'zero',
          zero: unit === 'zero',
        }
      },
      async truncate(bytes) {
        size = bytes
      },
      ...(context.options.units === 3 ? {} : { makeEmpty: async () => units.clear() }),
    }
    return ops
  },
})

const environment = (): OpenEnvironment => ({
  registry: new DriverRegistry([memory, overlay, passThrough] as never),
  host: denyHost,
})

/** Opens a chain of overlays, given from the top, each with its size in units. */
const chain = (...units: number[]): Promise<BlockNode> => {
  const tree = units.reduceRight<RawOptions | undefined>(
    (backing, count) => ({
      driver: 'overlay',
      units: count,
      file: { driver: 'memory' },
      ...(backing ? { backing } : {}),
    }),
    undefined,
  )
  return openNode(environment(), tree!)
}

const put = (node: BlockNode, unit: number, value: number) =>
  node.write(unit * UNIT, new Uint8Array(UNIT).fill(value))
const content = async (node: BlockNode): Promise<number[]> => {
  const data = new Uint8Array(node.size)
  await node.read(0, data)
  return [...data].filter((_, index) => index % UNIT === 7)
}
const heldUnits = async (node: BlockNode): Promise<boolean[]> => {
  const held: boolean[] = []
  for (let at = 0; at < node.size; at += UNIT) held.push((await node.blockStatus(at, UNIT)).allocated)
  return held
}
/** Writes the content of a backing file. */
const prepare = async (node: BlockNode, values: readonly (number | undefined)[]) => {
  for (const [unit, value] of values.entries()) {
    if (value !== undefined) await opsOf(node).write!(unit * UNIT, new Uint8Array(UNIT).fill(value), {})
  }
}

describe('commit', () => {
  it('loses nothing that is written meanwhile', async () => {
    const top = await chain(4, 4)
    const base = top.backing!.node
    await prepare(base, [1, 2, 3, 4])
    await put(top, 0, 9)
    let writes: Promise<unknown> | undefined
    await new Job((control) => commitNode(top, {}, control), {
      onProgress: (done, total) => {
        if (done === total) writes = Promise.all([put(top, 1, 8), top.writeZeroes(2 * UNIT, UNIT)])
      },
    }).done
    await writes
    expect(await content(top)).toEqual([9, 8, 0, 4])
    expect(await heldUnits(top)).toEqual([false, true, true, false])
  })

  it('brings data and zeroes into the backing file, leaves the rest alone, and empties the top', async () => {
    const top = await chain(4, 4)
    const base = top.backing!.node
    await prepare(base, [1, 2, 3, 4])
    await put(top, 1, 9)
    await top.writeZeroes(2 * UNIT, UNIT)
    const steps: number[] = []
    await new Job((control) => commitNode(top, {}, control), {
      onProgress: (done, total) => steps.push(done / total),
    }).done
    expect(await content(base)).toEqual([1, 9, 0, 4])
    expect(await heldUnits(top)).toEqual([false, false, false, false])
    expect([base.readOnly, base.file?.readOnly]).toEqual([true, true])
    expect([steps[0], steps.at(-1)]).toEqual([0, 1])
    expect(steps).toEqual(steps.toSorted((a, b) => a - b))
  })

  it('keeps the content of the top if asked, or if it cannot be emptied', async () => {
    for (const [units, makeEmpty] of [
      [4, false],
      [3, true],
    ] as const) {
      const top = await chain(units, 4)
      await put(top, 0, 9)
      await commitNode(top, { makeEmpty })
      expect((await heldUnits(top))[0]).toBe(true)
      expect((await content(top.backing!.node))[0]).toBe(9)
    }
  })

  it('into a lower layer takes all layers above it along, and empties none', async () => {
    const top = await chain(4, 4, 4)
    const middle = top.backing!.node
    const base = middle.backing!.node
    await prepare(base, [1, 1, 1, 1])
    await prepare(middle, [2, 2])
    await put(top, 0, 3)
    await commitNode(top, { base })
    expect(await content(base)).toEqual([3, 2, 1, 1])
    expect(await heldUnits(top)).toEqual([true, false, false, false])
    expect([base.readOnly, middle.readOnly]).toEqual([true, true])
  })

  it('grows a smaller backing file, and what was zero beyond its end stays zero', async () => {
    const top = await chain(4, 2)
    const base = top.backing!.node
    await prepare(base, [1, 1])
    await put(top, 3, 5)
    await commitNode(top)
    expect(await content(base)).toEqual([1, 1, 0, 5])
    expect(await content(top)).toEqual([1, 1, 0, 5])
  })

  it('refuses nodes without a backing file, and bases that are none', async () => {
    const top = await chain(4, 4)
    const other = await chain(4)
    await expect(commitNode(other)).rejects.toThrow('Image does not have a backing file')
    await expect(commitNode(top, { base: other })).rejects.toThrow(
      /^Did not find 'json:.*' in the backing chain of/,
    )
    await expect(commitNode(top, { base: top })).rejects.toThrow('Did not find')
  })

  it('leaves the base read-only and the top whole when writing fails', async () => {
    const top = await chain(4, 4)
    const base = top.backing!.node
    await put(top, 0, 9)
    Object.assign(opsOf(base), { write: () => Promise.reject(new Error('disk on fire')) })
    await expect(commitNode(top)).rejects.toThrow('disk on fire')
    expect(base.readOnly).toBe(true)
    expect((await heldUnits(top))[0]).toBe(true)
  })
})
