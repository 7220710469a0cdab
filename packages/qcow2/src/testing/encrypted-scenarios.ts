/** Encrypted disks and requests, among them changes of key slots, that reach steps announced by the driver. */
import { type BlockNode, openMemory, openNode, type RawOptions, snapshotsOf } from '@vmblock/block-core'
import { type FaultGuest, type FaultScenario, type FaultyDisk, toBytes } from '@vmblock/block-core/testing'
import { common, makeDisk, type Steps } from './fault-scenarios.ts'
import { environment, open, pattern } from './images.ts'

const KIB = 1024
const CLUSTER = 512
const SIZE = 64 * KIB
/** Written and flushed before the errors begin. */
const SAFE_AREA = 8 * KIB
const SMALL = { size: SIZE, cluster_size: CLUSTER, refcount_bits: 16 }

/** Names the secret that opens every image here. */
export const KEY = { 'encrypt.key-secret': 'one' }
const AES = { ...SMALL, encryption: true }
/** Key slots that take as few bytes, and as little time, as they can; clusters of which a write may be a part. */
export const LUKS = {
  ...SMALL,
  cluster_size: 2 * KIB,
  'encrypt.format': 'luks',
  'encrypt.cipher-alg': 'aes-128',
  'encrypt.cipher-mode': 'cbc',
  'encrypt.iter-time': 1,
}

/** What a passphrase must do: open the image, be refused, or either, after a change that failed. */
export type KeyRule = 'opens' | 'is refused' | 'either'

/** @throws Error if a passphrase breaks its rule */
export async function requireKeys(file: BlockNode, rules: ReadonlyMap<string, KeyRule>): Promise<void> {
  for (const [id, rule] of rules) {
    const options: RawOptions = { driver: 'qcow2', file, readOnly: true, 'encrypt.key-secret': id }
    const node = await openNode(environment, options).catch((error: Error) => {
      if (!error.message.includes('Invalid password, cannot unlock any keyslot')) throw error
      return undefined
    })
    await node?.close()
    if (rule !== 'either' && (node !== undefined) !== (rule === 'opens'))
      throw new Error(`'${id}' ${node ? 'opens the image' : 'is refused'}, and not: ${rule}`)
  }
}

/** Requests of a guest, and a save point, which is applied and deleted. */
async function useDisk(guest: FaultGuest): Promise<void> {
  const all = snapshotsOf(guest.node)
  for (let at = SAFE_AREA; at < SIZE - 8 * KIB; at += 6000) await guest.write(at, 3000, at)
  await guest.flush()
  await guest.discard(SAFE_AREA + 4 * CLUSTER, 8 * CLUSTER)
  const then = (await guest.try(() => all.create('a'))) ? guest.expected.slice() : undefined
  await guest.write(SAFE_AREA + 100, 5000, 2)
  await guest.zero(SAFE_AREA + 20 * CLUSTER, 2 * CLUSTER, true)
  await guest.resize(2 * SIZE)
  await guest.write(SIZE + 700, 4000, 3)
  await guest.read(SAFE_AREA, 4096)
  if (then && (await guest.try(() => all.apply('a')))) guest.expected = then
  await guest.write(SAFE_AREA + 3000, 300, 4)
  if (then) await guest.try(() => all.delete('a'))
  await guest.resize(SIZE + 4 * CLUSTER)
  await guest.flush()
}

/** A change of a snapshot that could not be undone stands under the dirty bit, which the next open repairs. */
async function repaired({ open, verify }: ReturnType<typeof common>, file: BlockNode): Promise<void> {
  const node = await open(file)
  await node.close()
  await verify(file, false)
}

/** Copies of a disk, which is made once. */
function copies(make: () => Promise<FaultyDisk>): () => Promise<FaultyDisk> {
  let made: Promise<FaultyDisk> | undefined
  return async () => {
    made ??= make()
    const { file, ...rest } = await made
    return { ...rest, file: openMemory(await toBytes(file)) }
  }
}

const ADD = { 'encrypt.state': 'active', 'encrypt.iter-time': 1 }

/** A disk with a second key, 'two', in slot 1. */
async function makeDiskWithKeys(lazy: boolean): Promise<FaultyDisk> {
  const disk = await makeDisk(LUKS, lazy, pattern(SAFE_AREA, 8), KEY)
  const node = await open(disk.file, KEY)
  await node.amend({ ...ADD, 'encrypt.new-secret': 'two' })
  await node.close()
  return disk
}

function aes(lazy: boolean): FaultScenario {
  const parts = common(lazy, KEY)
  return {
    ...parts,
    make: copies(() => makeDisk(AES, lazy, pattern(SAFE_AREA, 8), KEY)),
    run: useDisk,
    verify: (file) => repaired(parts, file),
  }
}

/** A key comes, and another goes, while the guest goes on; the one that opened the image stays. */
function luks(lazy: boolean): FaultScenario {
  const parts = common(lazy, KEY)
  const make = copies(() => makeDiskWithKeys(lazy))
  const rules = new Map<string, KeyRule>()
  return {
    ...parts,
    make() {
      rules.clear()
      rules.set('one', 'opens').set('two', 'opens').set('three', 'is refused')
      return make()
    },
    async run(guest) {
      const change = async (name: string, options: RawOptions, after: KeyRule): Promise<void> => {
        const done = await guest.try(() => guest.node.amend(options))
        rules.set(name, done ? after : 'either')
      }
      await guest.write(SAFE_AREA, 3000, 9)
      await change('three', { ...ADD, 'encrypt.new-secret': 'three', 'encrypt.keyslot': 6 }, 'opens')
      await useDisk(guest)
      await change('two', { 'encrypt.state': 'inactive', 'encrypt.keyslot': 1 }, 'is refused')
      await guest.write(SAFE_AREA, 700, 10)
    },
    async verify(file) {
      await repaired(parts, file)
      await requireKeys(file, rules)
    },
  }
}

/** The scenarios, and steps that each must reach. */
export const ENCRYPTED_STEPS: readonly Steps[] = [
  {
    name: 'a disk encrypted by AES',
    scenario: aes,
    events: [
      'l1_update',
      'l1_grow_write_table',
      'l2_load',
      'l2_update',
      'read_aio',
      'write_aio',
      'refblock_update_part',
      'cluster_alloc',
      'cluster_free',
      'flush_to_os',
      'flush_to_disk',
      'pwritev',
    ],
  },
  {
    name: 'a disk encrypted by LUKS, and its key slots',
    scenario: luks,
    events: ['l2_update', 'flush_to_disk', 'pwritev'],
  },
]
