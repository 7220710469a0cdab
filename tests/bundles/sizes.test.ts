/** What applications for browsers load, in bytes after minification and gzip, against budgets. */
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { bundleSizes } from './src/bundle.ts'

interface Application {
  readonly name: string
  readonly source: string
  /** Bytes that the application may load before it runs. */
  readonly budget: number
}

/** Bytes of each part that is loaded on first use, and what loads it. */
const PARTS: Readonly<Record<string, number>> = {
  /** Error policies and latencies of a handle. */
  request: 850,
  /** A file whose format was not named, and that is none of ours. */
  foreign: 1_500,
  /** A file name that is JSON. */
  json: 1_700,
  /** The indexeddb protocol: a page may keep its disks elsewhere. */
  block: 3_000,
  /** Raw: an image that was guessed, or part of a file. */
  rare: 1_250,
  /** QCOW2: creating, checking, repairing, amending, measuring; rare headers and options. */
  maintenance: 23_100,
  /** QCOW2: internal snapshots; dirty bitmaps; compressed writes; compacting, and other widths of refcounts. */
  snapshot: 4_100,
  bitmaps: 5_750,
  compressing: 1_600,
  compacting: 8_200,
  /** QED: checking, repairing, changing the header; creating. */
  upkeep: 3_250,
  create: 850,
  /** Formats that are loaded with their first image, each with all its parts, and the list of them. */
  late: 500,
  qed: 9_400,
  vhdx: 15_200,
  vdi: 6_300,
  parallels: 7_700,
  dmg: 12_100,
  bochs: 2_450,
  cloop: 1_900,
  /** QCOW2: encrypted images, with AES and hashes in JavaScript. */
  encryption: 18_500,
  /** What several of these parts share, in all. */
  chunk: 23_200,
  /** vmblock: creating, converting, checking, describing; and the last two and committing, of an open disk. */
  operations: 3_050,
  images: 1_150,
  /** Compressed clusters: ours beside pako and fzstd; zstd is WebAssembly, and inside. */
  deflate: 450,
  zlib: 480,
  zstd: 83_000,
}

/** What the application of docs/graphs.md imports from the core. */
const CORE = "export { denyHost, DriverRegistry, formatImage, memory, openNode } from '@vmblock/block-core'"
const RAW = "export { raw } from '@vmblock/raw'"
const QCOW2 = "export { qcow2 } from '@vmblock/qcow2'"
const QED = "export { qed } from '@vmblock/qed'"
const STORES = "export { blob, http, indexedDb, opfs } from '@vmblock/block-core/browser'"
const V86 = "export { attachDisk, v86Disk } from '@vmblock/v86'"
const V86_IN_BROWSERS = "export { v86Disk } from '@vmblock/v86/browser'"

/** The codecs of others are loaded with the first cluster that needs them. */
const WITHOUT_CODECS = { outside: ['fzstd', 'pako'] }

const of = (...lines: readonly string[]): string => lines.join('\n')

const APPLICATIONS: readonly Application[] = [
  {
    name: 'raw: open, read, write, flush, create',
    source: of(CORE, RAW),
    budget: 24_950,
  },
  {
    name: 'qcow2 and raw: open, read, write, flush, create, repair',
    source: of(CORE, RAW, QCOW2),
    budget: 48_000,
  },
  { name: 'qed and raw', source: of(CORE, RAW, QED), budget: 33_450 },
  {
    name: 'qcow2 and raw on whatever a browser has',
    source: of(CORE, RAW, QCOW2, STORES),
    budget: 59_200,
  },
  {
    name: 'a v86 disk of qcow2 or raw, without the stores',
    source: of(CORE, RAW, QCOW2, V86),
    budget: 59_000,
  },
  {
    name: 'a v86 disk, whatever it is and wherever',
    source: V86_IN_BROWSERS,
    budget: 72_000,
  },
  {
    name: 'vmblock in a page: open, read, write, streams, with all formats and stores',
    source: "export { open } from 'vmblock/browser'",
    budget: 71_500,
  },
]

describe('an application for browsers', () => {
  it.each(APPLICATIONS)('$name', async ({ name, source, budget }) => {
    const { start, later } = await bundleSizes(source, WITHOUT_CODECS)
    const parts = Object.entries(later).map(([part, bytes]) => `${bytes} of ${part}`)
    console.log(`counted ${start} bytes: ${name}${parts.length > 0 ? `; later ${parts.join(', ')}` : ''}`)
    expect(start).toBeLessThanOrEqual(budget)
    for (const [part, bytes] of Object.entries(later))
      expect([part, bytes <= PARTS[part]!]).toEqual([part, true])
  })

  // Published modules share files: unused code must be left out of these, too.
  it.skipIf(!existsSync(new URL('../../packages/qcow2/dist/index.js', import.meta.url)))(
    'loads as much of the published packages as of their sources',
    async () => {
      const { start } = await bundleSizes(of(CORE, RAW, QCOW2), { ...WITHOUT_CODECS, published: true })
      console.log(`counted ${start} bytes: qcow2 and raw, as published`)
      expect(start).toBeLessThanOrEqual(48_000)
    },
  )

  it('has what few openings need in files of their own', async () => {
    const { later } = await bundleSizes(of(CORE, QCOW2), WITHOUT_CODECS)
    expect(Object.keys(later).sort()).toEqual([
      'bitmaps',
      'chunk',
      'compacting',
      'compressing',
      'deflate',
      'encryption',
      'foreign',
      'json',
      'maintenance',
      'request',
      'snapshot',
      'zlib',
      'zstd',
    ])
  })

  it('is refused with a module of Node', async () => {
    await expect(bundleSizes("export { readFileSync } from 'node:fs'")).rejects.toThrow('node:fs')
  })
})
