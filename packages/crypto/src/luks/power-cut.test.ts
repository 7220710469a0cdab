/**
 * Power cuts while keys change: at any moment a passphrase of before or of after opens the volume. Of writes that were not
 * flushed, any sectors may be there, and a sector is written whole or not at all.
 */
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { nodePrimitives } from '../platform/node-js.ts'
import { addKey, eraseKeys } from './change-slots.ts'
import type { LuksStore } from './key-slots.ts'
import { formatVolume, openVolume, planVolume } from './volume.ts'

const SECTOR = 512
const text = (word: string): Uint8Array => new TextEncoder().encode(word)
const QUICK = { iterTime: 1 }

/** Remembers what was durable, and what was written since. */
class CutStore implements LuksStore {
  /** As a program sees it. */
  bytes: Uint8Array<ArrayBuffer>
  /** Durable bytes, and writes since, at each moment before a flush. */
  readonly moments: { readonly durable: Uint8Array; readonly writes: readonly [number, Uint8Array][] }[] = []
  readonly #flushes: boolean
  #durable: Uint8Array
  #writes: [number, Uint8Array][] = []

  constructor(bytes: Uint8Array<ArrayBuffer>, flushes: boolean) {
    this.bytes = bytes.slice()
    this.#durable = bytes.slice()
    this.#flushes = flushes
  }
  async read(offset: number, into: Uint8Array): Promise<void> {
    into.set(this.bytes.subarray(offset, offset + into.length))
  }
  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#writes.push([offset, from.slice()])
    this.bytes.set(from, offset)
  }
  async flush(): Promise<void> {
    if (this.#flushes) this.end()
  }
  /** A moment before everything becomes durable. */
  end(): void {
    this.moments.push({ durable: this.#durable, writes: this.#writes })
    this.#durable = this.bytes.slice()
    this.#writes = []
  }
}

async function opens(bytes: Uint8Array, passphrases: readonly string[]): Promise<boolean> {
  const store = new CutStore(new Uint8Array(bytes), true)
  for (const passphrase of passphrases) {
    const volume = await openVolume(nodePrimitives, store, text(passphrase)).catch(() => undefined)
    volume?.cipher.close()
    if (volume) return true
  }
  return false
}

const STATES_PER_MOMENT = 3

/** Changes keys, and says how many states of `samples` moments no passphrase opens. */
async function lockedStates(
  change: (store: LuksStore) => Promise<void>,
  passphrases: readonly string[],
  { flushes = true, second = '' } = {},
): Promise<number> {
  const random = createRandom(7)
  const plan = planVolume({ ...QUICK, cipherAlg: 'aes-128', cipherMode: 'cbc' })
  const made = new CutStore(new Uint8Array(plan.payloadOffset), true)
  await formatVolume(nodePrimitives, made, plan, text('old'))
  if (second !== '')
    await addKey(nodePrimitives, made, {
      passphrase: text('old'),
      newPassphrase: text(second),
      slot: 6,
      ...QUICK,
    })
  const store = new CutStore(made.bytes, flushes)
  await change(store)
  store.end()
  let locked = 0
  // All moments but most of the passes that overwrite a slot.
  const moments = store.moments.filter((_, i) => i < 8 || i % 10 === 0 || i > store.moments.length - 5)
  for (const { durable, writes } of moments)
    for (let state = 0; state < STATES_PER_MOMENT; state++) {
      const bytes = durable.slice()
      for (const [offset, from] of writes)
        for (let at = 0; at < from.length; at += SECTOR)
          if (random.chance(0.5)) bytes.set(from.subarray(at, at + SECTOR), offset + at)
      if (!(await opens(bytes, passphrases))) locked++
    }
  return locked
}

const add =
  (slot: number | undefined, force = false) =>
  (store: LuksStore) =>
    addKey(nodePrimitives, store, {
      passphrase: text('old'),
      newPassphrase: text('new'),
      slot,
      force,
      ...QUICK,
    })

describe('a volume opens after a power cut', () => {
  it.each([1, 6, 7])('while a key is added in slot %i', async (slot) => {
    expect(await lockedStates(add(slot), ['old'])).toBe(0)
  })

  it('while its only key is replaced', async () => {
    expect(await lockedStates(add(0, true), ['old', 'new'])).toBe(0)
  })

  it('while one of two keys is replaced', async () => {
    expect(await lockedStates(add(6, true), ['old'], { second: 'two' })).toBe(0)
  })

  it('while one of two keys is erased', async () => {
    const erase = (store: LuksStore): Promise<void> => eraseKeys(nodePrimitives, store, { slot: 6 })
    expect(await lockedStates(erase, ['old'], { second: 'two' })).toBe(0)
  })
})

describe('a volume opens after an error of its file', () => {
  it.each<[string, (store: LuksStore) => Promise<void>, readonly string[]]>([
    ['added', add(6), ['old']],
    ['replaced', add(0, true), ['old', 'new']],
  ])('while a key is %s', async (_, change, passphrases) => {
    const plan = planVolume({ ...QUICK, cipherAlg: 'aes-128', cipherMode: 'cbc' })
    const made = new CutStore(new Uint8Array(plan.payloadOffset), true)
    await formatVolume(nodePrimitives, made, plan, text('old'))
    for (let failing = 0; failing < 12; failing++) {
      const store = new CutStore(made.bytes, true)
      let requests = 0
      const fail = (): void => {
        if (requests++ === failing) throw new Error('the disk is gone')
      }
      const { write, flush } = store
      store.write = async (...given) => {
        fail()
        await write.apply(store, given)
      }
      store.flush = async () => {
        fail()
        await flush.apply(store)
      }
      const error = await change(store).catch((reason: unknown) => reason)
      expect(requests > failing ? String(error) : error).toBe(
        requests > failing ? 'Error: the disk is gone' : undefined,
      )
      expect(await opens(store.bytes, passphrases)).toBe(true)
    }
  })
})

it('without flushes, a cut leaves volumes that nothing opens', async () => {
  expect(await lockedStates(add(0, true), ['old', 'new'], { flushes: false })).toBeGreaterThan(0)
})
