import { describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import type { BlockLimits, WriteFlags } from '../contract/requests.ts'
import { discardInPieces, writeZeroesInPieces } from './fallbacks.ts'

const NO_LIMITS: BlockLimits = {
  requestAlignment: 1,
  maxTransfer: Number.MAX_SAFE_INTEGER,
  writeZeroesAlignment: 1,
  maxWriteZeroes: Number.MAX_SAFE_INTEGER,
  discardAlignment: 1,
  maxDiscard: Number.MAX_SAFE_INTEGER,
  compressedAlignment: 1,
}

type Piece = readonly [kind: 'zero' | 'write', offset: number, bytes: number]

async function zeroed(
  limits: Partial<BlockLimits>,
  offset: number,
  bytes: number,
  refuse: (offset: number, bytes: number) => boolean = () => false,
  flags: WriteFlags = {},
): Promise<Piece[]> {
  const pieces: Piece[] = []
  const writer = {
    limits: { ...NO_LIMITS, ...limits },
    async writeZeroes(at: number, length: number) {
      if (refuse(at, length)) throw new BlockError('ENOTSUP', 'no')
      pieces.push(['zero', at, length])
    },
    async write(at: number, data: Uint8Array) {
      expect(data.every((byte) => byte === 0)).toBe(true)
      pieces.push(['write', at, data.length])
    },
  }
  await writeZeroesInPieces(writer, offset, bytes, flags)
  return pieces
}

const MIB = 2 ** 20

describe('zero writes', () => {
  it('go out whole without limits', async () => {
    expect(await zeroed({}, 5, 10 * MIB)).toEqual([['zero', 5, 10 * MIB]])
  })

  it('are cut at the alignment: what leads up to it, whole multiples, the rest', async () => {
    expect(await zeroed({ writeZeroesAlignment: 4096 }, 1000, 20_000)).toEqual([
      ['zero', 1000, 3096],
      ['zero', 4096, 16_384],
      ['zero', 20_480, 520],
    ])
    expect(await zeroed({ writeZeroesAlignment: 4096 }, 4000, 8242)).toEqual([
      ['zero', 4000, 96],
      ['zero', 4096, 4096],
      ['zero', 8192, 4050],
    ])
    expect(await zeroed({ writeZeroesAlignment: 4096 }, 5000, 100)).toEqual([['zero', 5000, 100]])
  })

  it('are no longer than the driver takes, in multiples of the alignment', async () => {
    expect(await zeroed({ writeZeroesAlignment: 4096, maxWriteZeroes: 10_000 }, 0, 20_480)).toEqual([
      ['zero', 0, 8192],
      ['zero', 8192, 8192],
      ['zero', 16_384, 4096],
    ])
  })

  it('are written as data, piece by piece, where the driver refuses', async () => {
    const odd = (at: number): boolean => at % 4096 !== 0
    expect(await zeroed({ writeZeroesAlignment: 4096 }, 1000, 7192, odd)).toEqual([
      ['write', 1000, 3096],
      ['zero', 4096, 4096],
    ])
    expect(await zeroed({ maxTransfer: 700_000, requestAlignment: 4096 }, 0, 2 * MIB, () => true)).toEqual([
      ['write', 0, 696_320],
      ['write', 696_320, 696_320],
      ['write', 1_392_640, 696_320],
      ['write', 2_088_960, 8192],
    ])
    expect((await zeroed({}, 0, 2 * MIB + 1, () => true)).map(([, , bytes]) => bytes)).toEqual([MIB, MIB, 1])
  })

  it('are refused instead with noFallback', async () => {
    await expect(zeroed({}, 0, 10, () => true, { noFallback: true })).rejects.toMatchObject({
      code: 'ENOTSUP',
    })
  })

  it('pass other errors on', async () => {
    const writer = {
      limits: NO_LIMITS,
      writeZeroes: () => Promise.reject(new BlockError('ENOSPC', 'full')),
      write: () => Promise.reject(new Error('must not be asked')),
    }
    await expect(writeZeroesInPieces(writer, 0, 10, {})).rejects.toMatchObject({ code: 'ENOSPC' })
  })
})

describe('discards', () => {
  const discarded = async (limits: Partial<BlockLimits>, offset: number, bytes: number) => {
    const pieces: [number, number][] = []
    const discard = async (at: number, length: number): Promise<void> => {
      pieces.push([at, length])
      if (at === 0) throw new BlockError('ENOTSUP', 'not there')
    }
    await discardInPieces(discard, { ...NO_LIMITS, ...limits }, offset, bytes)
    return pieces
  }

  it('go on where the driver refuses a piece', async () => {
    expect(await discarded({ maxDiscard: 4096 }, 0, 10_000)).toEqual([
      [0, 4096],
      [4096, 4096],
      [8192, 1808],
    ])
  })

  it('shrink to whole request blocks, and are cut at the alignment', async () => {
    expect(await discarded({ requestAlignment: 512, discardAlignment: 4096 }, 100, 9000)).toEqual([
      [512, 3584],
      [4096, 4096],
      [8192, 512],
    ])
    expect(await discarded({ requestAlignment: 512 }, 100, 800)).toEqual([])
    expect(await discarded({ discardAlignment: 4096 }, 4000, 8242)).toEqual([
      [4000, 96],
      [4096, 4096],
      [8192, 4050],
    ])
  })

  it('fail with any other error', async () => {
    const discard = () => Promise.reject(new BlockError('EIO', 'broken'))
    await expect(discardInPieces(discard, NO_LIMITS, 0, 1)).rejects.toMatchObject({ code: 'EIO' })
  })
})
