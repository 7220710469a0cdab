/**
 * The varieties of images that pass back and forth, and how either side makes them.
 * @module
 */
import {
  createRandom,
  type ImageOptions,
  optionsFor,
  optionsText,
  type Random,
  type TestedFormat,
  type TestedVariety,
} from '@vmblock/block-core/testing'
import { testedFormat } from '../../support/formats.ts'
import type { Bench } from '../../support/real-qemu.ts'
import type { DiscardRule, Wishes } from './operations.ts'
import { createOurs, openOurs } from './ours.ts'

/** The side that makes an image. */
export type Maker = 'qemu-img' | 'our create'

/** The means to make an image. */
export interface Workshop {
  readonly bench: Bench
  readonly maker: Maker
  readonly random: Random
}

/** An image that is ready for the first turn. */
export interface Subject {
  readonly name: string
  readonly format: string
  /** The contents of the disk. */
  readonly content: Uint8Array
  readonly discard: DiscardRule
  readonly wishes: Wishes
  /** Files that no turn may change. */
  readonly constant?: readonly string[]
  /** A file that has to hold the same bytes as the disk: a raw external data file. */
  readonly mirror?: string
}

/** One variety. */
export interface Variety {
  readonly name: string
  make(workshop: Workshop): Promise<Subject>
}

const KIB = 1024
const MIB = 1024 * KIB
const SECTOR = 512

/** Makes an image file with the program of `maker`. */
export async function make(
  { bench, maker }: Workshop,
  name: string,
  format: string,
  size: number,
  options: ImageOptions = {},
): Promise<void> {
  if (maker === 'our create') return createOurs(bench.path(name), format, size, options)
  const list = Object.entries(options).map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`)
  const words = list.length > 0 ? ['-o', list.join(',')] : []
  bench.run('qemu-img', 'create', '-q', '-f', format, ...words, name, String(size))
}

const bytesOf = (text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise
  const [, digits, unit] = /^(\d+)([kM]?)$/.exec(text)!
  return Number(digits) * (unit === 'M' ? MIB : unit === 'k' ? KIB : 1)
}

/** An empty image of a format. */
export function emptyImage(format: TestedFormat, { create, size, preallocations }: TestedVariety): Variety {
  const { driver, clusterSize, resizesInQemu } = format
  const resizes = resizesInQemu === false ? 'not at all' : format.resizes
  const cluster = bytesOf(create['cluster_size'], clusterSize)
  const bytes = size ?? Math.min(Math.max(48 * cluster, MIB), 4 * MIB) + 3 * SECTOR
  return {
    name: optionsText(create).replaceAll(' ', ',') || 'default',
    async make(workshop) {
      const name = `disk.${driver.name}`
      await make(workshop, name, driver.name, bytes, optionsFor(create, workshop.bench.path(name)))
      return {
        name,
        format: driver.name,
        content: new Uint8Array(bytes),
        discard: discardRule(format, cluster),
        wishes: {
          grain: create['extended_l2'] ? cluster / 32 : cluster,
          ...(resizes !== 'not at all' && { resizeUpTo: bytes * 1.5 }),
          growsOnly: resizes === 'growing',
          ...(preallocations && { preallocations }),
        },
        ...(create['data_file_raw'] === 'on' && { mirror: `${name}.data` }),
      }
    },
  }
}

function discardRule({ discards }: TestedFormat, cluster: number): DiscardRule {
  if (discards === 'nothing') return 'ignored'
  return discards === 'perhaps' ? 'either' : { cluster }
}

/** A layer below the overlay. */
interface Layer {
  readonly format: string
  readonly size: number
  readonly options?: ImageOptions
}

/** An overlay over other images; `layers` from the bottom up, the overlay last. */
export function chain(name: string, layers: readonly Layer[], wishes: Partial<Wishes> = {}): Variety {
  return {
    name,
    async make(workshop) {
      let content: Uint8Array = new Uint8Array(0)
      const names: string[] = []
      for (const [index, { format, size, options = {} }] of layers.entries()) {
        const file = `layer${index}.${format}`
        const below = names.at(-1)
        const backing =
          below === undefined ? {} : { backing_file: below, backing_fmt: layers[index - 1]!.format }
        await make(workshop, file, format, size, { ...options, ...backing })
        const next = new Uint8Array(size)
        next.set(content.subarray(0, size))
        content = next
        names.push(file)
        if (index < layers.length - 1) await scribble(workshop, file, format, content)
      }
      const top = layers.at(-1)!
      const format = testedFormat(top.format)
      const cluster = bytesOf(top.options?.['cluster_size'], format.clusterSize)
      const old = top.options?.['compat'] === '0.10'
      return {
        name: names.at(-1)!,
        format: top.format,
        content,
        // Version 2 has no zero clusters, and a hole would show the backing data.
        discard: old ? 'ignored' : discardRule(format, cluster),
        wishes: {
          grain: cluster,
          ...(!old && { resizeUpTo: top.size * 1.5 }),
          growsOnly: format.resizes === 'growing',
          ...wishes,
        },
        constant: names.slice(0, -1),
      }
    },
  }
}

/** Writes a few times into a layer, and into the model as well. */
async function scribble(
  { bench, random }: Workshop,
  name: string,
  format: string,
  content: Uint8Array,
): Promise<void> {
  const node = await openOurs(bench.path(name), format)
  for (let count = 0; count < 12; count++) {
    const offset = random.int(0, content.length)
    const data = random.bytes(Math.min(random.int(1, 200_000), content.length - offset))
    await node.write(offset, data)
    content.set(data, offset)
  }
  await node.close()
}

/** A variety in which clusters are written compressed as well. */
export const compressing = ({ name, make }: Variety, cluster: number): Variety => ({
  name: `${name}, with compressed writes`,
  async make(workshop) {
    const subject = await make(workshop)
    return { ...subject, wishes: { ...subject.wishes, compresses: cluster } }
  },
})

/** An image full of compressed clusters, made by the real `qemu-img convert -c`. */
export function compressed(type: 'zlib' | 'zstd', options: ImageOptions = {}): Variety {
  const list = Object.entries({ ...options, ...(type === 'zstd' && { compression_type: type }) })
  return {
    name: ['convert -c', type, ...Object.entries(options).map(([key, value]) => `${key}=${value}`)].join(' '),
    make({ bench, random }) {
      const content = compressible(random, 3 * MIB + 512)
      bench.write('source.raw', content)
      const words = list.length > 0 ? ['-o', list.map(([key, value]) => `${key}=${value}`).join(',')] : []
      bench.run('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', ...words, 'source.raw', 'disk.qcow2')
      const cluster = bytesOf(options['cluster_size'], 64 * KIB)
      return Promise.resolve({
        name: 'disk.qcow2',
        format: 'qcow2',
        content,
        discard: { cluster },
        wishes: { grain: cluster, resizeUpTo: content.length * 1.3, compresses: cluster },
      })
    },
  }
}

/** Bytes that compress well, badly and not at all, and zeroes. */
function compressible(random: Random, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let at = 0; at < size; ) {
    const end = Math.min(at + random.int(1, 120_000), size)
    const kind = random.int(0, 4)
    if (kind === 1) bytes.fill(random.int(1, 256), at, end)
    if (kind === 2) bytes.set(random.bytes(end - at), at)
    if (kind === 3)
      for (let i = at; i < end; i++) bytes[i] = 65 + ((i * i) % 7) + (random.chance(0.05) ? 9 : 0)
    at = end
  }
  return bytes
}

/** A separate random sequence for each maker, so that their rounds differ. */
export const randomFor = (seed: number, maker: Maker): Random =>
  createRandom(seed ^ (maker === 'qemu-img' ? 0 : 0x5bd1e995))
