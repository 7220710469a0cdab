/** LUKS volumes in memory: making, opening, adding and erasing keys, and headers that are wrong. */
import { describe, expect, it } from 'vitest'
import { browserPrimitives } from '../platform/browser.ts'
import { nodePrimitives } from '../platform/node-js.ts'
import { fillRandom, HASHES, type HashName } from '../platform/primitives.ts'
import { mergeKey, splitKey } from './anti-forensic.ts'
import { addKey, eraseKeys } from './change-slots.ts'
import { LUKS_HEADER_BYTES, luksFacts, parseLuksHeader } from './header.ts'
import { iterationsIn } from './iterations.ts'
import { type LuksStore, readLuksHeader } from './key-slots.ts'
import { formatVolume, type LuksOptions, openVolume, planVolume } from './volume.ts'

const text = (word: string): Uint8Array => new TextEncoder().encode(word)
const WRONG = { code: 'EINVAL', message: 'Invalid password, cannot unlock any keyslot' }
/** The least that a slot may cost. */
const QUICK = { iterTime: 1 }
const SMALL: LuksOptions = { ...QUICK, cipherAlg: 'aes-128', cipherMode: 'cbc' }

class MemoryStore implements LuksStore {
  readonly bytes: Uint8Array
  /** Lengths and offsets of writes, and flushes, in order. */
  readonly log: string[] = []
  constructor(length: number) {
    this.bytes = new Uint8Array(length)
  }
  async read(offset: number, into: Uint8Array): Promise<void> {
    into.set(this.bytes.subarray(offset, offset + into.length))
  }
  async write(offset: number, from: Uint8Array): Promise<void> {
    this.log.push(`${offset}+${from.length}`)
    this.bytes.set(from, offset)
  }
  async flush(): Promise<void> {
    this.log.push('flush')
  }
}

async function newVolume(options: LuksOptions = SMALL, passphrase = 'one'): Promise<MemoryStore> {
  const plan = planVolume(options)
  const store = new MemoryStore(plan.payloadOffset)
  await formatVolume(nodePrimitives, store, plan, text(passphrase))
  return store
}

const opens = async (store: LuksStore, passphrase: string): Promise<boolean> => {
  try {
    const { cipher } = await openVolume(nodePrimitives, store, text(passphrase))
    cipher.close()
    return true
  } catch (error) {
    expect(error).toMatchObject(WRONG)
    return false
  }
}

const activeSlots = async (store: LuksStore): Promise<number[]> =>
  (await readLuksHeader(store)).slots.flatMap(({ isActive }, i) => (isActive ? [i] : []))

describe('a volume', () => {
  it.each<LuksOptions>([
    {},
    { cipherAlg: 'aes-192' },
    { cipherAlg: 'aes-128', hashAlg: 'sha512' },
    { cipherAlg: 'aes-256', cipherMode: 'cbc', ivgenAlg: 'essiv', hashAlg: 'sha1' },
    { cipherAlg: 'aes-128', cipherMode: 'cbc', ivgenAlg: 'essiv', ivgenHashAlg: 'md5', hashAlg: 'ripemd160' },
    { cipherAlg: 'aes-256', cipherMode: 'ctr', ivgenAlg: 'plain', hashAlg: 'sha224' },
    { cipherAlg: 'aes-128', cipherMode: 'ecb', ivgenHashAlg: 'sha1', hashAlg: 'sha384' },
  ])('of %o opens with its passphrase on either platform, and with no other', async (options) => {
    const store = await newVolume({ ...QUICK, ...options })
    const plain = fillRandom(new Uint8Array(2048))
    const sealed = new Uint8Array(2048)
    const one = await openVolume(nodePrimitives, store, text('one'))
    one.cipher.encrypt(3, plain, sealed)
    const other = await openVolume(browserPrimitives, store, text('one'))
    other.cipher.decrypt(3, sealed, sealed)
    expect(sealed).toEqual(plain)
    for (const primitives of [nodePrimitives, browserPrimitives])
      await expect(openVolume(primitives, store, text('two'))).rejects.toMatchObject(WRONG)
  })

  it('that a page has made opens in Node.js', async () => {
    const plan = planVolume({ ...SMALL, hashAlg: 'ripemd160' })
    const store = new MemoryStore(plan.payloadOffset)
    await formatVolume(browserPrimitives, store, plan, text('π'))
    expect(await opens(store, 'π')).toBe(true)
  })

  it('has the sizes that QEMU gives it', () => {
    const sizes = ['aes-128', 'aes-192', 'aes-256'].map(
      (cipherAlg) => planVolume({ cipherAlg }).payloadOffset,
    )
    expect(sizes).toEqual([2056 * 512, 3016 * 512, 4040 * 512])
    expect(planVolume(SMALL).payloadOffset).toBe(1032 * 512)
  })

  it.each<[LuksOptions, string, string]>([
    [{ cipherAlg: 'rot13' }, 'EINVAL', "Parameter 'cipher-alg' does not accept value 'rot13'"],
    [{ cipherAlg: 'des' }, 'EINVAL', "Algorithm 'des' not supported"],
    [{ cipherMode: 'gcm' }, 'EINVAL', "Parameter 'cipher-mode' does not accept value 'gcm'"],
    [{ ivgenAlg: 'x' }, 'EINVAL', "Parameter 'ivgen-alg' does not accept value 'x'"],
    [{ ivgenHashAlg: 'x' }, 'EINVAL', "Parameter 'ivgen-hash-alg' does not accept value 'x'"],
    [{ hashAlg: 'x' }, 'EINVAL', "Parameter 'hash-alg' does not accept value 'x'"],
    [{ cipherAlg: 'serpent-256' }, 'ENOTSUP', "Algorithm 'serpent-256' not supported"],
    [{ cipherAlg: 'twofish-128' }, 'ENOTSUP', "Algorithm 'twofish-128' not supported"],
    [{ cipherAlg: 'cast5-128', cipherMode: 'cbc' }, 'ENOTSUP', "Algorithm 'cast5-128' not supported"],
    [{ cipherAlg: 'cast5-128' }, 'EINVAL', 'Unsupported cipher mode xts'],
    [{ cipherAlg: 'aes-192', cipherMode: 'cbc' }, 'ENOTSUP', "with cipher mode 'cbc' not supported"],
    [{ ivgenAlg: 'essiv', ivgenHashAlg: 'sha1' }, 'EINVAL', 'No AES cipher with key size 20 available'],
  ])('of %o is refused', (options, code, message) => {
    expect(() => planVolume(options)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    )
  })
})

describe('keys', () => {
  it('are added to the first free slot or a named one, and erased by slot or passphrase', async () => {
    const store = await newVolume()
    const add = (newPassphrase: string, more: object = {}, passphrase = 'one'): Promise<void> =>
      addKey(nodePrimitives, store, {
        passphrase: text(passphrase),
        newPassphrase: text(newPassphrase),
        ...QUICK,
        ...more,
      })
    await add('two')
    await add('six', { slot: 6 }, 'two')
    await add('seven', { slot: 7 })
    expect(await activeSlots(store)).toEqual([0, 1, 6, 7])
    for (const word of ['one', 'two', 'six', 'seven']) expect(await opens(store, word)).toBe(true)
    await expect(add('x', { slot: 8 })).rejects.toThrow(
      'Invalid keyslot 8 specified, must be between 0 and 7',
    )
    await expect(add('x', { slot: 1 })).rejects.toThrow('Refusing to overwrite active keyslot 1')
    await expect(add('x', {}, 'nope')).rejects.toMatchObject(WRONG)
    await add('new', { slot: 1, force: true })
    expect(await activeSlots(store)).toEqual([0, 1, 6, 7])
    expect([await opens(store, 'two'), await opens(store, 'new')]).toEqual([false, true])
    await eraseKeys(nodePrimitives, store, { slot: 6 })
    await eraseKeys(nodePrimitives, store, { oldPassphrase: text('new') })
    expect(await activeSlots(store)).toEqual([0, 7])
    expect(await opens(store, 'six')).toBe(false)
    for (let i = 0; i < 6; i++) await add(`more ${i}`)
    await expect(add('x')).rejects.toThrow("Can't add a keyslot - all keyslots are in use")
    await add('seventh', { slot: 7, force: true })
    expect([await opens(store, 'seven'), await opens(store, 'seventh')]).toEqual([false, true])
  })

  it('are not erased by mistake', async () => {
    const store = await newVolume()
    const erase = (keys: { slot?: number; old?: string; force?: boolean }): Promise<void> =>
      eraseKeys(nodePrimitives, store, {
        ...keys,
        oldPassphrase: keys.old === undefined ? undefined : text(keys.old),
      })
    const before = store.bytes.slice()
    await expect(erase({})).rejects.toThrow(
      'To erase keyslot(s), either explicit keyslot index or the password',
    )
    await expect(erase({ slot: 9 })).rejects.toThrow('Invalid keyslot 9')
    await expect(erase({ slot: 5 })).rejects.toThrow('Given keyslot 5 is already erased (inactive) ')
    await expect(erase({ slot: 0, old: 'x' })).rejects.toThrow(
      "Given keyslot 0 doesn't contain the given old",
    )
    await expect(erase({ old: 'x' })).rejects.toThrow('No keyslots match given (old) password')
    await expect(erase({ slot: 0 })).rejects.toThrow('Attempt to erase the only active keyslot 0')
    await expect(erase({ old: 'one' })).rejects.toThrow('All the active keyslots match the (old) password')
    expect(Buffer.compare(store.bytes, before)).toBe(0)
    await erase({ slot: 0, force: true })
    expect(await opens(store, 'one')).toBe(false)
  })

  it('are erased from the header first, and each pass over the material is durable', async () => {
    const store = await newVolume()
    await addKey(nodePrimitives, store, {
      passphrase: text('one'),
      newPassphrase: text('2'),
      slot: 6,
      ...QUICK,
    })
    const { slots } = await readLuksHeader(store)
    const { keyOffset } = slots[6]!
    store.log.length = 0
    await eraseKeys(nodePrimitives, store, { slot: 6 })
    expect(store.log.slice(0, 6)).toEqual([
      '0+512',
      'flush',
      '512+80',
      'flush',
      `${keyOffset}+64000`,
      'flush',
    ])
    expect(store.log.filter((entry) => entry === `${keyOffset}+64000`)).toHaveLength(40)
    expect(store.log.filter((entry) => entry === 'flush')).toHaveLength(42)
  })

  it('become active when their material is durable', async () => {
    const store = await newVolume()
    store.log.length = 0
    await addKey(nodePrimitives, store, {
      passphrase: text('one'),
      newPassphrase: text('2'),
      slot: 6,
      ...QUICK,
    })
    expect(store.log.slice(1)).toEqual(['flush', '512+80', 'flush', '0+512', 'flush'])
  })
})

describe('the anti-forensic splitter', () => {
  it.each(Object.keys(HASHES) as HashName[])(
    'merges with %s what it has split, and nothing less',
    async (hash) => {
      const key = fillRandom(new Uint8Array(48))
      const split = await splitKey(nodePrimitives, hash, key, 20)
      expect(split).toHaveLength(48 * 20)
      expect(await mergeKey(browserPrimitives, hash, split, 48)).toEqual(key)
      split[100]! ^= 1
      expect(await mergeKey(nodePrimitives, hash, split, 48)).not.toEqual(key)
    },
  )
})

describe('an opening', () => {
  it('derives a key once for each slot that it tries, and the digest once for each of these', async () => {
    const store = await newVolume()
    const second = { passphrase: text('one'), newPassphrase: text('two'), slot: 5, ...QUICK }
    await addKey(nodePrimitives, store, second)
    /** Calls of PBKDF2, with a passphrase or for a digest. */
    const derivations = async (passphrase: string): Promise<number> => {
      let count = 0
      const pbkdf2: typeof nodePrimitives.pbkdf2 = (...given) => {
        count++
        return nodePrimitives.pbkdf2(...given)
      }
      const opening = openVolume({ ...nodePrimitives, pbkdf2 }, store, text(passphrase))
      if (passphrase === 'wrong') await expect(opening).rejects.toMatchObject(WRONG)
      else (await opening).cipher.close()
      return count
    }
    expect(await derivations('one')).toBe(2)
    expect(await derivations('two')).toBe(4)
    expect(await derivations('wrong')).toBe(4)
  })
})

describe('a header', () => {
  it('asks for no more iterations than take minutes', async () => {
    const store = await newVolume()
    // Iterations of slot 0: at once, or with those of the digest.
    for (const iterations of [0xffff_ffff, 200_000_000]) {
      new DataView(store.bytes.buffer).setUint32(212, iterations)
      await expect(openVolume(nodePrimitives, store, text('one'))).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringContaining('iterations of PBKDF2'),
      })
    }
    expect(() => iterationsIn(1e6, 'sha256', 64, 1e6)).toThrow('larger than 4294967295')
    expect(() => iterationsIn(1e3, 'sha256', 64, 1e6)).toThrow('too long')
    expect(iterationsIn(10, 'sha256', 64, 1000)).toBe(5000)
    expect(iterationsIn(1, 'sha256', 32, 10)).toBe(1000)
  })

  it('tells its facts without a key', async () => {
    const store = await newVolume({ ...SMALL, ivgenAlg: 'essiv', hashAlg: 'sha1' })
    const facts = luksFacts(parseLuksHeader(store.bytes.slice(0, LUKS_HEADER_BYTES)))
    expect(facts).toMatchObject({
      format: 'luks',
      'cipher-alg': 'aes-128',
      'cipher-mode': 'cbc',
      'ivgen-alg': 'essiv',
      'ivgen-hash-alg': 'sha256',
      'hash-alg': 'sha1',
      'payload-offset': 1032 * 512,
      uuid: expect.stringMatching(/^[\da-f]{8}-[\da-f-]{27}$/),
    })
    expect(facts['slots']).toHaveLength(8)
  })
})
