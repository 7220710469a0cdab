import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EngineName, IoEngine } from '@vmblock/block-core/node'
import { describe, expect, it } from 'vitest'
import { programEngine } from './program-engine.ts'

const SMALL = new Uint8Array(4096)
const LARGE = new Uint8Array(128 * 1024)

/** Engines that record their calls; the adaptive one takes as long as the test says. */
function watched() {
  const said: string[] = []
  let release: () => void = () => {}
  let gate: Promise<void> = Promise.resolve()
  const hold = (): void => {
    gate = new Promise((resolve) => (release = resolve))
  }
  const make = (name: EngineName): IoEngine => {
    const call = (what: string) => async (): Promise<void> => {
      said.push(`${name} ${what}`)
      if (name === 'adaptive') await gate
    }
    const calls = { pread: call('read'), pwrite: call('write'), fdatasync: call('flush'), stop: call('stop') }
    return calls as Partial<IoEngine> as IoEngine
  }
  return { said, hold, release: () => release(), engine: programEngine('adaptive', make), make }
}

describe('the engine of programs', () => {
  it('does at once what comes alone', async () => {
    const { said, engine } = watched()
    await engine.pread(0, SMALL, 0)
    await engine.pwrite(0, SMALL, 0)
    await engine.fdatasync(0)
    expect(said).toEqual(['sync read', 'sync write', 'sync flush'])
  })

  it('leaves the rest of a burst, and large requests, to the adaptive engine', async () => {
    const { said, engine } = watched()
    await Promise.all([engine.pread(0, SMALL, 0), engine.pwrite(0, SMALL, 0), engine.fdatasync(0)])
    await engine.pread(0, LARGE, 0)
    await engine.pwrite(0, LARGE, 0)
    expect(said).toEqual(['sync read', 'adaptive write', 'adaptive flush', 'adaptive read', 'adaptive write'])
  })

  it('does nothing beside what runs elsewhere', async () => {
    const { said, hold, release, engine } = watched()
    hold()
    const large = engine.pread(0, LARGE, 0)
    const small = engine.pread(0, SMALL, 0)
    const flush = engine.fdatasync(0)
    release()
    await Promise.all([large, small, flush])
    await engine.fdatasync(0)
    expect(said).toEqual(['adaptive read', 'adaptive read', 'adaptive flush', 'sync flush'])
  })

  it('lets the event loop turn', async () => {
    const { engine } = watched()
    let turned = false
    setImmediate(() => (turned = true))
    for (let i = 0; i < 100; i++) await engine.pread(0, SMALL, 0)
    expect(turned).toBe(true)
  })

  it('stops both, and leaves other engines alone', async () => {
    const { said, engine, make } = watched()
    await engine.stop()
    expect(said).toEqual(['sync stop', 'adaptive stop'])
    const threads = programEngine('threads', make)
    await threads.pread(0, SMALL, 0)
    expect(said.at(-1)).toBe('threads read')
  })

  it('reads and writes a file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'program-engine-'))
    try {
      const path = join(directory, 'a')
      writeFileSync(path, new Uint8Array(8192).fill(7))
      const fd = openSync(path, 'r+')
      const engine = programEngine('adaptive')
      const into = new Uint8Array(4096)
      const reading = engine.pread(fd, into, 0)
      expect(into[4095]).toBe(7)
      await reading
      await engine.pwrite(fd, new Uint8Array(4096).fill(9), 0)
      await engine.fdatasync(fd)
      await engine.pread(fd, into, 2048)
      expect([into[0], into[2048]]).toEqual([9, 7])
      await engine.stop()
      await expect(engine.pread(fd, into, 0)).rejects.toMatchObject({ code: 'ECANCELED' })
      closeSync(fd)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
