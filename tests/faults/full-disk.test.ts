/**
 * A full file system: an error that says so, no acknowledged write lost, and requests succeed once there is
 * room.
 */
import { readdirSync, readlinkSync } from 'node:fs'
import { BlockError, type BlockNode, isBlockError } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import { createImage, KINDS, type Kind, openImage, takesDirect, WAYS, type Way } from './src/images.ts'
import { mountSmallDisk, type SmallDisk, whyNoSmallDisk } from './src/small-disk.ts'

const KIB = 1024
const MIB = 1024 * KIB
/** Size of the guest's disk: more than there is room for. */
const SIZE = 6 * MIB
const ROOM = 2 * MIB
const BALLAST = MIB / 2
/** Unaligned pieces, so that every format has to copy, or to read, modify and write. */
const PIECE = 24 * KIB + 512

/** A disk and what it has to show: the data of requests that succeeded; -1 where a request failed. */
class Guest {
  readonly node: BlockNode
  readonly expected: Int16Array
  readonly errors: unknown[] = []

  constructor(node: BlockNode, content: Uint8Array) {
    this.node = node
    this.expected = Int16Array.from(content)
  }

  async write(offset: number, seed: number): Promise<boolean> {
    const data = createRandom(seed).bytes(Math.min(PIECE, SIZE - offset))
    const done = await this.try(() => this.node.write(offset, data))
    if (done) this.expected.set(data, offset)
    else this.expected.fill(-1, offset, offset + data.length)
    return done
  }

  async try(run: () => Promise<unknown>): Promise<boolean> {
    try {
      await run()
      return true
    } catch (error) {
      this.errors.push(error)
      return false
    }
  }

  /** Every error so far says that there is no room. */
  requireNoSpace(): void {
    for (const error of this.errors) {
      expect(error).toBeInstanceOf(BlockError)
      expect((error as BlockError).code).toBe('ENOSPC')
      expect((error as BlockError).message).toMatch(/No space left on device$/)
    }
  }

  async requireContent(node: BlockNode): Promise<void> {
    expect(firstWrong(await toBytes(node), this.expected), 'the first wrong byte').toBe(-1)
  }
}

/** Returns the offset of the first byte that is not as expected; -1: none. */
function firstWrong(content: Uint8Array, expected: Int16Array): number {
  for (let at = 0; at < content.length; at++)
    if (expected[at] !== content[at] && expected[at] !== -1) return at
  return -1
}

/** The files below a directory that this process has open. */
const openBelow = (directory: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith(directory) ? [target] : []
    } catch {
      return []
    }
  })

const title = 'a disk that is full'

describe.skipIf(whyNoSmallDisk !== undefined)(
  whyNoSmallDisk === undefined ? title : `${title} (skipped: ${whyNoSmallDisk})`,
  () => {
    let disk: SmallDisk
    let bench: Bench
    let direct = false
    beforeAll(async () => {
      disk = mountSmallDisk(ROOM)
      bench = openBench()
      direct = await takesDirect(disk.path('probe'))
      bench.write('base.raw', createRandom(77).bytes(SIZE))
    })
    afterEach(() => disk.empty())
    afterAll(() => {
      disk?.remove()
      bench?.remove()
    })

    const prepare = async (kind: Kind, way: Way): Promise<Guest> => {
      await createImage(disk.path('disk'), kind, SIZE)
      disk.takeRoom(BALLAST)
      const node = await openAgain(kind, way)
      return new Guest(node, kind.overlay ? bench.read('base.raw') : new Uint8Array(SIZE))
    }
    const openAgain = (kind: Kind, way: Way): Promise<BlockNode> =>
      openImage(disk.path('disk'), kind, way, { backing: bench.path('base.raw') })

    /** Checks that QEMU finds nothing worse than leaks, unless the image is marked as needing repair. */
    const requireHarmless = (kind: Kind, mayBeDirty = false): void => {
      if (kind.checks === 'no' || !kind.inQemu || !haveQemu) return
      const options = ['-f', kind.format, '--output=json', disk.path('disk')]
      const info = JSON.parse(bench.run('qemu-img', 'info', ...options)) as { 'dirty-flag': boolean }
      const { status, stdout, stderr } = bench.attempt('qemu-img', 'check', ...options)
      if (info['dirty-flag']) expect(mayBeDirty, 'dirty').toBe(true)
      else expect([0, 3], stderr + stdout).toContain(status)
    }
    /** Checks that QEMU reads what was acknowledged. */
    const requireRealContent = (kind: Kind, guest: Guest): void => {
      if (!haveQemu || !kind.inQemu) return
      const copy = kind.overlay
        ? [
            '--image-opts',
            `driver=${kind.format},file.filename=${disk.path('disk')},backing.driver=raw,backing.file.filename=base.raw`,
          ]
        : ['-f', kind.format, disk.path('disk')]
      bench.run('qemu-img', 'convert', '-O', 'raw', ...copy, 'read.raw')
      const wrong = firstWrong(bench.read('read.raw'), guest.expected)
      expect(wrong, 'the first byte that QEMU reads wrong').toBe(-1)
    }

    /** Writes at scattered offsets until nothing more fits, and then some more. */
    const fill = async (guest: Guest): Promise<void> => {
      let failed = 0
      for (let i = 0; failed < 8; i++) {
        const offset = ((i * 37) % 60) * 100 * KIB
        const done = await Promise.all([0, 1, 2].map((n) => guest.write(offset + n * 28 * KIB, i * 3 + n)))
        failed += done.filter((each) => !each).length
        if (i % 8 === 7 && !(await guest.try(() => guest.node.flush()))) failed++
        if (i > 400) throw new Error('the disk does not become full')
      }
    }

    for (const way of WAYS) {
      describe(way.name, () => {
        test.each(KINDS)('$name: goes on where there is room again', async (kind) => {
          if (way.name === 'cache=none' && !direct) return // the file system does not support O_DIRECT
          const guest = await prepare(kind, way)
          const { node } = guest
          await fill(guest)
          expect(guest.errors.length).toBeGreaterThan(0)
          // Requests that need no space succeed; others fail with ENOSPC.
          await guest.try(() => node.flush())
          await guest.try(() => node.writeZeroes(SIZE - 64 * KIB, 64 * KIB, { mayUnmap: true }))
          guest.expected.fill(-1, SIZE - 64 * KIB)
          await guest.requireContent(node)
          guest.requireNoSpace()
          const full = guest.errors.length

          disk.makeRoom()
          for (let i = 0; i < 12; i++)
            expect(await guest.write(i * 64 * KIB, 1000 + i), String(guest.errors.at(-1))).toBe(true)
          await node.flush()
          await guest.requireContent(node)
          if (kind.checks !== 'no')
            expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
          await node.close()
          expect(guest.errors.length).toBe(full)
          requireHarmless(kind)
          requireRealContent(kind, guest)
          const again = await openAgain(kind, way)
          await guest.requireContent(again)
          await again.close()
          expect(openBelow(disk.path(''))).toEqual([])
        })

        test.each(KINDS)(
          '$name: closes, or says why not, and loses nothing that was flushed',
          async (kind) => {
            if (way.name === 'cache=none' && !direct) return
            const guest = await prepare(kind, way)
            const { node } = guest
            await guest.write(0, 1)
            await guest.write(3 * MIB, 2)
            await node.flush()
            const flushed = guest.expected.slice()
            await fill(guest)
            // Some of the flushed parts may have been written again, and failed.
            for (let at = 0; at < SIZE; at++) if (guest.expected[at] !== flushed[at]) flushed[at] = -1
            const isClosed = await guest.try(() => node.close())
            guest.requireNoSpace()
            expect(node.isOpen).toBe(false)
            expect(openBelow(disk.path(''))).toEqual([])
            requireHarmless(kind, kind.mayBeDirty)
            // Readers need no space.
            const judge = isClosed ? guest.expected : flushed
            const compare = async (reader: BlockNode): Promise<void> => {
              const content = await toBytes(reader)
              const wrong = content.findIndex((byte, at) => judge[at] !== -1 && judge[at] !== byte)
              expect(wrong, `the first wrong byte, ${isClosed ? 'closed' : 'not closed'}`).toBe(-1)
            }
            const reader = await openImage(disk.path('disk'), kind, way, {
              backing: bench.path('base.raw'),
              readOnly: true,
            })
            await compare(reader)
            await reader.close()
            // A repair may need space, and fail with ENOSPC.
            const early = await openAgain(kind, way).catch((error: unknown) => error)
            if (early instanceof Error) expect(early).toBeInstanceOf(BlockError)
            else
              await (early as BlockNode)
                .close()
                .catch((error: unknown) => expect(isBlockError(error)).toBe(true))
            disk.makeRoom()
            const again = await openAgain(kind, way)
            await compare(again)
            await again.write(0, new Uint8Array(PIECE).fill(5))
            await again.close()
            requireHarmless(kind)
          },
        )
      })
    }

    test('has no room for a new image, and says so', async () => {
      disk.takeRoom(ROOM - 8 * KIB)
      for (const kind of KINDS) {
        const create = kind.preallocates ? { preallocation: 'full' } : {}
        const made = createImage(disk.path('new'), { ...kind, create: { ...kind.create, ...create } }, SIZE)
        if (!kind.preallocates) await made.catch(() => undefined)
        else await expect(made, kind.name).rejects.toMatchObject({ code: 'ENOSPC' })
      }
      expect(openBelow(disk.path(''))).toEqual([])
    })
  },
)
