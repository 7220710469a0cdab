import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ALIGNED_BUFFER, AlignedBuffers, allocateAligned, isAligned } from './aligned-buffers.ts'
import { makeEngine } from './engines.ts'
import { ThreadEngine } from './io-engine.ts'

const directory = mkdtempSync(join(tmpdir(), 'vmblock-engine-'))
afterAll(() => rmSync(directory, { recursive: true }))

describe('engines', () => {
  it.each(['sync', 'threads', 'adaptive'] as const)(
    '%s: turns a failure of the host into a BlockError',
    async (name) => {
      const path = join(directory, name)
      writeFileSync(path, 'abc')
      const fd = openSync(path, 'r')
      const engine = makeEngine(name)
      await expect(engine.pwrite(fd, new Uint8Array(1), 0)).rejects.toMatchObject({ name: 'BlockError' })
      await engine.stop()
      await expect(engine.pread(fd, new Uint8Array(1), 0)).rejects.toMatchObject({ code: 'ECANCELED' })
      closeSync(fd)
    },
  )

  it('threads: stop waits for what runs in the pool', async () => {
    const path = join(directory, 'stop')
    writeFileSync(path, new Uint8Array(1_000_000))
    const fd = openSync(path, 'r')
    const engine = new ThreadEngine()
    const reads = Array.from({ length: 20 }, () => engine.pread(fd, new Uint8Array(1_000_000), 0))
    const ended = Promise.allSettled(reads)
    expect(engine.running).toBe(20)
    await engine.stop()
    expect(engine.running).toBe(0)
    closeSync(fd)
    expect((await ended).every(({ status }) => status === 'fulfilled')).toBe(true)
  })
})

describe('AlignedBuffers', () => {
  it('lends a bounded number of buffers, in turn', async () => {
    const buffers = new AlignedBuffers()
    let most = 0
    let lent = 0
    const seen = new Set<number>()
    await Promise.all(
      Array.from({ length: 200 }, () =>
        buffers.borrow(async (buffer) => {
          most = Math.max(most, ++lent)
          seen.add(buffer.byteOffset)
          expect(buffer.length).toBe(ALIGNED_BUFFER)
          expect(isAligned(buffer, 4096)).toBe(true)
          await Promise.resolve()
          lent--
        }),
      ),
    )
    expect(most).toBe(64)
    expect(seen.size).toBe(64)
  })

  it('gives a buffer back when the borrower fails', async () => {
    const buffers = new AlignedBuffers()
    for (let round = 0; round < 100; round++) {
      await expect(buffers.borrow(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    }
  })

  it('tells aligned memory from memory that may be anywhere', () => {
    const memory = allocateAligned(8192)
    expect(isAligned(memory, 4096)).toBe(true)
    expect(isAligned(memory.subarray(512), 4096)).toBe(false)
    expect(isAligned(memory.subarray(512), 512)).toBe(true)
    expect(isAligned(new Uint8Array(4096), 4096)).toBe(false)
  })
})
