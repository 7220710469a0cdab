/**
 * The images that are damaged: one of every kind, small, made by QEMU's programs if they are installed
 * (only they can make snapshots and bitmaps), otherwise by this library.
 * @module
 */
import { type AnyDriver, formatImage, openMemory, openNode, type RawOptions } from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { haveQemu, openBench } from '../../support/real-qemu.ts'
import { environment } from './exercise.ts'
import { LUKS } from './luks-header.ts'

/** A sound image. */
export interface Seed {
  readonly name: string
  /** The driver that opens it. */
  readonly driver: string
  readonly bytes: Uint8Array
  /** Options that name the secret of an encrypted image. */
  readonly key?: RawOptions
}

const MIB = 2 ** 20

/** Options of images that this library makes itself. */
const OWN: readonly (readonly [name: string, driver: AnyDriver, options: RawOptions])[] = [
  ['plain', qcow2, { size: 4 * MIB }],
  ['old', qcow2, { size: 4 * MIB, compat: '0.10' }],
  ['small clusters', qcow2, { size: MIB, cluster_size: 512 }],
  ['large clusters', qcow2, { size: 64 * MIB, cluster_size: 2 * MIB }],
  ['subclusters', qcow2, { size: 4 * MIB, extended_l2: true, cluster_size: 16384 }],
  ['narrow refcounts', qcow2, { size: 4 * MIB, refcount_bits: 1, cluster_size: 4096 }],
  ['wide refcounts', qcow2, { size: 4 * MIB, refcount_bits: 64, cluster_size: 4096 }],
  ['lazy', qcow2, { size: 4 * MIB, lazy_refcounts: true }],
  ['zstd', qcow2, { size: 4 * MIB, compression_type: 'zstd' }],
  ['qed', qed, { size: 4 * MIB }],
  ['qed, small', qed, { size: 4 * MIB, cluster_size: 4096, table_size: 1 }],
]

const KIB = 2 ** 10

/** The same for many fast rounds: images of a few KiB. */
const OWN_SMALL: typeof OWN = [
  ['tiny', qcow2, { size: 96 * KIB, cluster_size: 512 }],
  ['tiny, old', qcow2, { size: 96 * KIB, cluster_size: 512, compat: '0.10' }],
  ['tiny, lazy', qcow2, { size: 96 * KIB, cluster_size: 512, lazy_refcounts: true }],
  ['tiny, narrow refcounts', qcow2, { size: 96 * KIB, cluster_size: 512, refcount_bits: 1 }],
  ['tiny, wide refcounts', qcow2, { size: 96 * KIB, cluster_size: 512, refcount_bits: 64 }],
  ['tiny, subclusters', qcow2, { size: 96 * KIB, cluster_size: 16 * KIB, extended_l2: true }],
  ['tiny, zstd', qcow2, { size: 96 * KIB, cluster_size: 512, compression_type: 'zstd' }],
  ['tiny qed', qed, { size: 96 * KIB, cluster_size: 4096, table_size: 1 }],
]

const KEY = { 'encrypt.key-secret': 's' }
const AES = { encryption: true, ...KEY }

/** Encrypted images. The keys of LUKS are others in every run. */
const ENCRYPTED: typeof OWN = [
  ['encrypted by LUKS', qcow2, { size: MIB, cluster_size: 4096, ...LUKS }],
  ['encrypted by AES', qcow2, { size: MIB, cluster_size: 4096, ...AES }],
]
const ENCRYPTED_SMALL: typeof OWN = [
  ['tiny, LUKS', qcow2, { size: 96 * KIB, cluster_size: 4096, ...LUKS }],
  ['tiny, AES', qcow2, { size: 96 * KIB, cluster_size: 512, ...AES }],
]

async function makeOwn(driver: AnyDriver, options: RawOptions, key: RawOptions = {}): Promise<Uint8Array> {
  const file = openMemory(new Uint8Array(0))
  const { secret } = environment
  await formatImage(driver, file, options, undefined, { secret: secret! })
  const node = await openNode(environment, { driver: driver.name, file, discard: 'unmap', ...key })
  const { clusterSize = 65536 } = await node.info()
  await node.write(0, new Uint8Array(clusterSize * 3 + 700).fill(1))
  await node.write(node.size / 2, new Uint8Array(1000).fill(2))
  await node.writeZeroes(clusterSize, clusterSize)
  await node.close()
  const bytes = await toBytes(file)
  await file.close()
  return bytes
}

/** Further images that QEMU makes: command lines of its programs, `disk` being the image. */
const QEMU: readonly (readonly [name: string, driver: Seed['driver'], ...lines: string[]])[] = [
  [
    'snapshots',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=4096 disk 2M',
    'io -f qcow2 -c write#-P#1#0#64k disk',
    'img snapshot -c one disk',
    'io -f qcow2 -c write#-P#2#32k#64k disk',
    'img snapshot -c two disk',
    'io -f qcow2 -c write#-P#3#0#8k disk',
  ],
  [
    'bitmaps',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=4096 disk 2M',
    'img bitmap --add -g 4096 disk first',
    'img bitmap --add -g 64k disk second',
    'io -f qcow2 -c write#-P#1#0#64k disk',
  ],
  [
    'compressed',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=4096 disk 1M',
    'io -f qcow2 -c write#-c#-P#1#0#4k -c write#-c#-P#2#4k#4k -c write#-c#-P#3#64k#4k disk',
  ],
  [
    'compressed with zstd',
    'qcow2',
    'img create -q -f qcow2 -o compression_type=zstd disk 4M',
    'io -f qcow2 -c write#-c#-P#1#0#64k -c write#-c#-P#2#64k#64k disk',
  ],
  [
    'compressed, large clusters',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=2M disk 8M',
    'io -f qcow2 -c write#-c#-P#1#0#2M disk',
  ],
  [
    'overlay',
    'qcow2',
    'img create -q -f raw base.raw 4M',
    'img create -q -f qcow2 -b base.raw -F raw disk',
    'io -f qcow2 -c write#0#4k disk',
  ],
]

const QEMU_SMALL: typeof QEMU = [
  [
    'tiny, snapshots',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=512 disk 96K',
    'io -f qcow2 -c write#-P#1#0#2k disk',
    'img snapshot -c one disk',
    'io -f qcow2 -c write#-P#2#1k#2k disk',
    'img snapshot -c two disk',
    'io -f qcow2 -c write#-P#3#0#512 disk',
  ],
  [
    'tiny, bitmaps',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=512 disk 96K',
    'img bitmap --add -g 512 disk first',
    'img bitmap --add -g 4k disk second',
    'io -f qcow2 -c write#-P#1#0#2k disk',
  ],
  [
    'tiny, compressed',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=512 disk 96K',
    'io -f qcow2 -c write#-c#-P#1#0#512 -c write#-c#-P#2#512#512 -c write#-c#-P#3#64k#512 disk',
  ],
  [
    'tiny, compressed with zstd',
    'qcow2',
    'img create -q -f qcow2 -o cluster_size=4k,compression_type=zstd disk 96K',
    'io -f qcow2 -c write#-c#-P#1#0#4k -c write#-c#-P#2#4k#4k disk',
  ],
  [
    'tiny overlay',
    'qcow2',
    'img create -q -f raw base.raw 96K',
    'img create -q -f qcow2 -o cluster_size=512 -b base.raw -F raw disk',
    'io -f qcow2 -c write#0#1k disk',
  ],
]

/** Returns the image without its snapshots' times, so that the seed is always the same. */
function undated(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  let at = Number(view.getBigUint64(64))
  for (let count = view.getUint32(60); count > 0; count--) {
    bytes.fill(0, at + 16, at + 32)
    const names = view.getUint16(at + 12) + view.getUint16(at + 14)
    at = Math.ceil((at + 40 + view.getUint32(at + 36) + names) / 8) * 8
  }
  return bytes
}

function makeByQemu(lines: readonly string[]): Uint8Array {
  const bench = openBench()
  try {
    for (const line of lines) {
      const [program, ...words] = line.split(' ').map((word) => word.replaceAll('#', ' '))
      bench.run(program === 'img' ? 'qemu-img' : 'qemu-io', ...words)
    }
    return undated(bench.read('disk'))
  } finally {
    bench.remove()
  }
}

/** Makes the seeds that need nothing but this library. */
export async function makeOwnSeeds(only?: string): Promise<Seed[]> {
  const seeds: Seed[] = []
  for (const [name, driver, options] of OWN)
    if (only === undefined || driver.name === only)
      seeds.push({ name, driver: driver.name as Seed['driver'], bytes: await makeOwn(driver, options) })
  return seeds
}

async function makeEncrypted(list: typeof OWN): Promise<Seed[]> {
  const seeds: Seed[] = []
  for (const [name, driver, options] of list)
    seeds.push({ name, driver: 'qcow2', bytes: await makeOwn(driver, options, KEY), key: KEY })
  return seeds
}

/** Makes seeds for many fast rounds, of every kind. */
export async function makeSmallSeeds(): Promise<Seed[]> {
  const seeds: Seed[] = []
  for (const [name, driver, options] of OWN_SMALL)
    seeds.push({ name, driver: driver.name as Seed['driver'], bytes: await makeOwn(driver, options) })
  if (haveQemu)
    for (const [name, driver, ...lines] of QEMU_SMALL) seeds.push({ name, driver, bytes: makeByQemu(lines) })
  seeds.push(...(await makeEncrypted(ENCRYPTED_SMALL)))
  seeds.push({ name: 'tiny raw', driver: 'raw', bytes: new Uint8Array(2000).fill(7) })
  return seeds
}

/** Makes all seeds, or those of one driver. */
export async function makeSeeds(only?: string): Promise<Seed[]> {
  const seeds = await makeOwnSeeds(only)
  if (haveQemu)
    for (const [name, driver, ...lines] of QEMU)
      if (only === undefined || driver === only) seeds.push({ name, driver, bytes: makeByQemu(lines) })
  if (only === undefined || only === 'qcow2') seeds.push(...(await makeEncrypted(ENCRYPTED)))
  if (only === undefined || only === 'raw')
    seeds.push({ name: 'raw', driver: 'raw', bytes: new Uint8Array(100_000).fill(7) })
  return seeds
}
