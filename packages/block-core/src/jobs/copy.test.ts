import { describe, expect, it, vi } from 'vitest'
import { SECTOR } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import type { BlockNode, BlockStatus } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { opsOf } from '../graph/node-internals.ts'
import { nodeOf } from '../testing/nodes.ts'
import { type CopyOptions, copyNodes } from './copy.ts'
import { CopyMap, type CopyMapOptions } from './copy-map.ts'
import { Job, type JobOptions } from './job.ts'

const UNIT = 4096

const STATES: Readonly<Record<string, Omit<BlockStatus, 'bytes'>>> = {
  x: { allocated: true, data: true, zero: false },
  // Data that happens to be zero.
  o: { allocated: true, data: true, zero: false },
  z: { allocated: true, data: false, zero: true },
  '.': { allocated: false, data: false, zero: false },
}

/** A disk of units, each a letter; data is 1 in the first unit, 2 in the second, ... */
function source(units: string, more: Partial<NodeOps> = {}): BlockNode {
  return nodeOf({
    size: () => units.length * UNIT,
    async read(offset, into) {
      for (let i = 0; i < into.length; i++) {
        const unit = Math.floor((offset + i) / UNIT)
        into[i] = units[unit] === 'x' ? unit + 1 : 0
      }
    },
    async blockStatus(offset, bytes) {
      const unit = Math.floor(offset / UNIT)
      const end = [...units].findIndex((letter, index) => index > unit && letter !== units[unit])
      return {
        ...STATES[units[unit]!]!,
        bytes: Math.min(bytes, (end < 0 ? units.length : end) * UNIT - offset),
      }
    },
    ...more,
  })
}

/** A disk that records writes: the first byte of each unit, and the offset. */
function target(units: number, more: Partial<NodeOps> = {}) {
  const said: string[] = []
  const node = nodeOf({
    size: () => units * UNIT,
    zeroFlags: new Set(['mayUnmap'] as const),
    read: async () => {},
    async write(offset, from) {
      const values: number[] = []
      for (let at = 0; at < from.length; at += UNIT) values.push(from[at]!)
      said.push(`${offset / UNIT}: ${values.join(' ')}`)
    },
    async writeZeroes(offset, bytes, { mayUnmap }) {
      said.push(`${offset / UNIT}: zero ${bytes / UNIT}${mayUnmap ? '' : ' kept'}`)
    },
    ...more,
  })
  return { node, said }
}

type Options = Omit<CopyOptions, 'map' | 'target'> & Pick<JobOptions, 'signal'>

async function copy(
  from: BlockNode | CopyMapOptions,
  to: BlockNode,
  { signal, ...options }: Options = {},
): Promise<void> {
  const map = await CopyMap.of('sources' in from ? from : { sources: [{ node: from }], hasBeneath: true })
  await new Job((control) => copyNodes({ map, target: to, ...options }, control), { signal }).done
}

describe('a copy from node to node', () => {
  it.each([
    ['write', ['0: 1 2', '2: zero 2', '5: 6']],
    ['skip', ['0: 1 2', '5: 6']],
    ['data', ['0: 1 2', '2: 0 0', '5: 6']],
  ] as const)('moves data, %s zeroes, and leaves what is beneath', async (zeroes, expected) => {
    const { node, said } = target(6)
    await copy(source('xxzz.x'), node, { zeroes })
    expect(said).toEqual(expected)
  })

  it('finds zeroes in data if it shall', async () => {
    const sparse = { minimum: UNIT, alignment: UNIT }
    const { node, said } = target(6)
    await copy(source('xoooxx'), node, { sparse })
    expect(said).toEqual(['0: 1', '1: zero 3', '4: 5 6'])
    const second = target(6)
    await copy(source('xoooxx'), second.node, { sparse, zeroes: 'skip' })
    expect(second.said).toEqual(['0: 1', '4: 5 6'])
    const third = target(6)
    await copy(source('xoooxx'), third.node)
    expect(third.said).toEqual(['0: 1', '1: 0 0 0', '4: 5 6'])
  })

  it('cuts data into pieces, tells of each, and takes one memory for all', async () => {
    const { node, said } = target(7)
    const taken: number[] = []
    const told: string[] = []
    await copy(source('xxxxxzz'), node, {
      pieceBytes: 2 * UNIT,
      parallel: 2,
      allocate(bytes) {
        taken.push(bytes)
        return new Uint8Array(bytes)
      },
      onBegin: ({ offset, bytes }) => told.push(`begin ${offset / UNIT}+${bytes / UNIT}`),
      onEnd: ({ offset, kind }) => told.push(`end ${offset / UNIT} ${kind}`),
    })
    expect(said).toEqual(['0: 1 2', '2: 3 4', '4: 5', '5: zero 2'])
    expect(taken).toEqual([4 * UNIT])
    expect(told.filter((line) => line.startsWith('begin'))).toEqual([
      'begin 0+2',
      'begin 2+2',
      'begin 4+1',
      'begin 5+2',
    ])
    expect(told.filter((line) => line.startsWith('end'))).toEqual([
      'end 0 data',
      'end 2 data',
      'end 4 data',
      'end 5 zero',
    ])
  })

  /** A source whose first read ends only after others; `reads` lists the order of completion. */
  const slowStart = () => {
    const reads: number[] = []
    let release: () => void = () => {}
    const gate = new Promise<void>((resolve) => (release = resolve))
    const node = source('xxxxxx', {
      async read(offset, into) {
        into.fill(offset / UNIT + 1)
        if (offset === 0) await gate
        reads.push(offset / UNIT)
        if (reads.length === 3) release()
      },
    })
    return { node, reads }
  }

  it('reads ahead and writes in order', async () => {
    const from = slowStart()
    const { node, said } = target(6)
    await copy(from.node, node, { pieceBytes: UNIT, parallel: 4 })
    expect(said).toEqual(['0: 1', '1: 2', '2: 3', '3: 4', '4: 5', '5: 6'])
    expect(from.reads.slice(0, 4)).toEqual([1, 2, 3, 0])
  })

  it('writes what is there first, if it may', async () => {
    const { node, said } = target(6)
    await copy(slowStart().node, node, { pieceBytes: UNIT, parallel: 4, outOfOrder: true })
    expect(said.slice(0, 3)).toEqual(['1: 2', '2: 3', '3: 4'])
    expect(said.toSorted()).toEqual(['0: 1', '1: 2', '2: 3', '3: 4', '4: 5', '5: 6'])
  })

  it('never works on more pieces than it may', async () => {
    let [now, most] = [0, 0]
    const work = async (): Promise<void> => {
      most = Math.max(most, ++now)
      await new Promise((resolve) => setTimeout(resolve))
      now--
    }
    const { node } = target(20, { write: work })
    await copy(source('x'.repeat(20), { read: work }), node, {
      pieceBytes: UNIT,
      parallel: 3,
      outOfOrder: true,
    })
    expect(most).toBe(3)
  })

  it('ends with the first failure, and writes nothing behind it', async () => {
    const failing = source('xxxxxx', {
      async read(offset) {
        if (offset === 2 * UNIT) throw new BlockError('ENOSPC', 'something')
      },
    })
    const { node, said } = target(6)
    const reading = copy(failing, node, { pieceBytes: UNIT, parallel: 2 })
    await expect(reading).rejects.toMatchObject({
      code: 'ENOSPC',
      message: `error while reading at byte ${2 * UNIT}: No space left on device`,
    })
    expect(said.length).toBeLessThanOrEqual(2)
    for (const call of ['write', 'writeZeroes'] as const) {
      const broken = target(6, { [call]: () => Promise.reject(new Error('disk on fire')) })
      const writing = copy(source(call === 'write' ? 'zzx' : 'xxz'), broken.node)
      await expect(writing).rejects.toThrow(`error while writing at byte ${2 * UNIT}: disk on fire`)
    }
  })

  it('saves what can be read', async () => {
    const bad = source('xx', {
      async read(offset, into) {
        if (offset <= UNIT + SECTOR && offset + into.length > UNIT + SECTOR) {
          into.fill(9)
          throw new BlockError('EIO', 'bad')
        }
        into.fill(7)
      },
    })
    const written: Uint8Array[] = []
    const { node } = target(3, { write: async (_, from) => void written.push(from.slice()) })
    const errors: number[] = []
    await copy({ sources: [{ node: source('x') }, { node: bad }] }, node, {
      onReadError: (offset) => errors.push(offset),
    })
    // The offset is relative to its source.
    expect(errors).toEqual([UNIT + SECTOR])
    const expected = new Uint8Array(2 * UNIT).fill(7)
    expect(written[1]).toEqual(expected.fill(0, UNIT + SECTOR, UNIT + 2 * SECTOR))
  })

  it('ends when it shall, with what is in flight done', async () => {
    const abort = new AbortController()
    const { node, said } = target(20)
    const copying = copy(source('x'.repeat(20)), node, {
      pieceBytes: UNIT,
      parallel: 2,
      signal: abort.signal,
      onEnd({ offset }) {
        if (offset === 3 * UNIT) abort.abort(new Error('enough'))
      },
    })
    await expect(copying).rejects.toThrow('enough')
    expect(said).toEqual(['0: 1', '1: 2', '2: 3', '3: 4'])
  })

  it('ends by a signal of its own where no job runs it; a job has one already', async () => {
    const abort = new AbortController()
    const { node, said } = target(20)
    const map = CopyMap.of({ sources: [{ node: source('x'.repeat(20)) }] })
    const options = {
      map: await map,
      target: node,
      pieceBytes: UNIT,
      parallel: 2,
      signal: abort.signal,
      onEnd: ({ offset }: { offset: number }) => {
        if (offset === 3 * UNIT) abort.abort(new Error('enough'))
      },
    }
    await expect(new Job((control) => copyNodes(options, control)).done).rejects.toThrow(
      "Parameter 'signal' expects the signal of the job, or none",
    )
    await expect(copyNodes(options)).rejects.toThrow('enough')
    expect(said).toEqual(['0: 1', '1: 2', '2: 3', '3: 4'])
  })

  it('writes clusters compressed, whole ones, and none that are zero', async () => {
    const written: string[] = []
    const { node, said } = target(12, {
      async writeCompressed(offset, from) {
        written.push(`${offset / UNIT}+${from.length / UNIT}`)
      },
    })
    const options = { compressedCluster: 2 * UNIT, sparse: { minimum: 2 * UNIT, alignment: 2 * UNIT } }
    await copy(source('zzzxzzzzooox'), node, options)
    expect(written.splice(0)).toEqual(['2+2', '10+2'])
    expect(said).toEqual(['0: zero 2', '4: zero 4', '8: zero 2'])
    // Clusters of data follow each other in one request, of which the driver may do several at once.
    await copy(source('xxxxzzxxxxxx'), node, options)
    expect(written.splice(0)).toEqual(['0+4', '6+6'])
    await copy(source('xxxxxxxxxxxx'), node, { ...options, pieceBytes: 4 * UNIT })
    expect(written.splice(0)).toEqual(['0+4', '4+4', '8+4'])
    // Zeroes that are wanted as data are cut, too.
    await copy(source('xxzzzzzzzzzz'), node, {
      compressedCluster: 2 * UNIT,
      zeroes: 'data',
      pieceBytes: 4 * UNIT,
    })
    expect(written).toEqual(['0+2', '2+4', '6+4', '10+2'])
  })

  it('lets the host copy where it can, and asks no more where it cannot', async () => {
    const below = source('xxxxxxx')
    const above = (): BlockNode => {
      const node: BlockNode = nodeOf(
        {
          ...opsOf(below),
          size: () => 6 * UNIT,
          async blockStatus(offset, bytes) {
            const host = { child: node.children.get('file')!, offset: offset + UNIT }
            return { bytes, allocated: true, data: true, zero: false, host }
          },
        },
        { children: { file: below } },
        'format',
      )
      return node
    }
    const asked: string[] = []
    const able = target(6, {
      async copyRange(offset, bytes, node, sourceOffset) {
        asked.push(`${offset / UNIT}+${bytes / UNIT} from ${sourceOffset / UNIT} ${node === below}`)
      },
    })
    const options = { offload: true, pieceBytes: 4 * UNIT, parallel: 1 }
    await copy(above(), able.node, options)
    expect(asked).toEqual(['0+4 from 1 true', '4+2 from 5 true'])
    expect(able.said).toEqual([])

    let refused = 0
    const unable = target(6, {
      async copyRange() {
        refused++
        throw new BlockError('ENOTSUP', 'no')
      },
    })
    await copy(above(), unable.node, options)
    expect(unable.said).toEqual(['0: 1 2 3 4', '4: 5 6'])
    expect(refused).toBe(1)
  })

  it('does not make up for a pause when it keeps to a rate', async () => {
    vi.useFakeTimers()
    try {
      const start = Date.now()
      const done: number[] = []
      const map = await CopyMap.of({ sources: [{ node: source('xxxxxx') }] })
      const job = new Job((control) =>
        copyNodes(
          {
            map,
            target: target(6).node,
            pieceBytes: UNIT,
            parallel: 1,
            rate: UNIT,
            onEnd: () => done.push(Date.now() - start),
          },
          control,
        ),
      )
      await vi.advanceTimersByTimeAsync(1500)
      const paused = job.pause()
      await vi.advanceTimersByTimeAsync(8500)
      await paused
      job.resume()
      await vi.advanceTimersByTimeAsync(10_000)
      await job.done
      expect(done).toEqual([0, 1000, 2000, 10_000, 11_000, 12_000])
    } finally {
      vi.useRealTimers()
    }
  })

  it('keeps to a rate, and can be ended while it waits', async () => {
    vi.useFakeTimers()
    try {
      const { node, said } = target(4)
      const start = Date.now()
      const done: number[] = []
      const copying = copy(source('xxxx'), node, {
        pieceBytes: UNIT,
        rate: UNIT,
        onEnd: () => done.push(Date.now() - start),
      })
      await vi.advanceTimersByTimeAsync(10_000)
      await copying
      expect(done).toEqual([0, 1000, 2000, 3000])
      expect(said).toHaveLength(4)

      const abort = new AbortController()
      const slow = target(4)
      const ended = expect(
        copy(source('xxxx'), slow.node, { pieceBytes: UNIT, rate: 1, signal: abort.signal }),
      ).rejects.toThrow('enough')
      await vi.advanceTimersByTimeAsync(1000)
      abort.abort(new Error('enough'))
      await ended
      expect(slow.said).toEqual(['0: 1'])
    } finally {
      vi.useRealTimers()
    }
  })
})
