/**
 * Requests know nothing of where guest data lies but what the store says: with a store that stores every byte
 * in another form, which depends on its guest offset, disks read back what was written.
 */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test, vi } from 'vitest'
import { createImage, findings, open, pattern, SOUND, sameBytes } from '../testing/images.ts'

/** Whether images store data in the other form, and the offsets at which they did. */
const cipher = vi.hoisted(() => ({ isOn: false, writes: 0 }))

vi.mock('./image-store.ts', async (original) => {
  const real = await original<typeof import('./image-store.ts')>()
  const applied = (bytes: Uint8Array, guest: number): Uint8Array =>
    bytes.map((byte, i) => byte ^ (((guest + i) * 31 + Math.floor((guest + i) / 512)) & 0xff) ^ 0x5a)
  class CipherStore extends real.ImageStore {
    override async read(host: number, into: Uint8Array, guest?: number): Promise<void> {
      await super.read(host, into)
      if (cipher.isOn) into.set(applied(into, guest!))
    }
    override write(host: number, from: Uint8Array, guest?: number): Promise<void> {
      cipher.writes++
      return super.write(host, cipher.isOn ? applied(from, guest!) : from)
    }
    override locate(host: number): ReturnType<InstanceType<typeof real.ImageStore>['locate']> {
      return cipher.isOn ? undefined : super.locate(host)
    }
    override async allocate(guest: number, count: number) {
      const allocated = await super.allocate(guest, count)
      return cipher.isOn ? { ...allocated, zeroed: false } : allocated
    }
  }
  return { ImageStore: CipherStore }
})

const CLUSTER = 16384
const SIZE = 24 * CLUSTER

/** Changes a disk and its model at random. */
async function change(node: BlockNode, model: Uint8Array, seed: number): Promise<void> {
  const random = createRandom(seed)
  for (let step = 0; step < 120; step++) {
    const offset = random.int(0, SIZE / 512 - 1) * 512
    const bytes = Math.min(random.int(1, 80) * 512, SIZE - offset)
    const kind = random.int(0, 8)
    if (kind < 5) {
      const data = random.bytes(bytes)
      await node.write(offset, data)
      model.set(data, offset)
    } else if (kind === 5) {
      await node.writeZeroes(offset, bytes, { mayUnmap: step % 2 === 0 })
      model.fill(0, offset, offset + bytes)
    } else if (kind === 6) {
      const cluster = Math.floor(offset / CLUSTER) * CLUSTER
      await node.discard(cluster, CLUSTER)
      model.fill(0, cluster, cluster + CLUSTER)
    } else await node.flush()
  }
}

describe.each([true, false])('a store of another form: %s', (isOn) => {
  test.each([
    ['clusters', {}],
    ['subclusters', { extended_l2: 'on' }],
    ['lazy refcounts', { lazy_refcounts: 'on' }],
  ])('keeps the data of %s, over a backing file', async (_, options) => {
    Object.assign(cipher, { isOn, writes: 0 })
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...options })
    const model = pattern(SIZE, 7)
    const node = await open(file, { backing: openMemory(model.slice(), { readOnly: true }) })
    await change(node, model, 3)
    expect(sameBytes(await toBytes(node), model)).toBe(true)
    const marked = pattern(512, 8)
    await node.write(5 * CLUSTER, marked)
    const { host } = await node.blockStatus(5 * CLUSTER, 512)
    expect(host === undefined).toBe(isOn)
    await node.close()
    expect(Buffer.from(await toBytes(file)).includes(Buffer.from(marked))).toBe(!isOn)
    expect(cipher.writes).toBeGreaterThan(50)
    expect(await findings(file)).toMatchObject(SOUND)
  })
})
