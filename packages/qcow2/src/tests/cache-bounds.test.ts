/** Random use of a disk of 1 TiB takes the memory of its caches, and little more; the figures are printed. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createImage, DriverRegistry, denyHost, type OpenEnvironment, openNode } from '@vmblock/block-core'
import { file } from '@vmblock/block-core/node'
import { createRandom } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { qcow2 } from '../driver.ts'

const LONG = process.env['VMBLOCK_LONG'] === '1'
const MIB = 2 ** 20
const SIZE = 2 ** 40
/** The defaults: bytes of L2 tables, and of refcount blocks. */
const CACHES = 32 * MIB + 4 * 65536
/** Bytes beyond the caches: everything else. */
const REST = 64 * MIB
const REQUESTS = LONG ? 400_000 : 8_000

const environment: OpenEnvironment = { registry: new DriverRegistry([file, qcow2]), host: denyHost }
const directory = mkdtempSync(join(tmpdir(), 'vmblock-bounds-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes that the process holds in memory that a disk can use, without garbage: when that is collected is V8's affair. */
const held = (): number => {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const before = held()

/** Whole tables in the cache: a few requests touch all 128 MiB of them. The others need many requests for that. */
const KINDS = [
  ['whole tables', {}, { l2CacheEntrySize: 65536 }],
  ['eager', {}, {}],
  ['lazy refcounts', { lazyRefcounts: true }, {}],
  ['extended L2 entries', { extendedL2: true }, {}],
] as const

describe('a disk of 1 TiB in random use', () => {
  test.each(LONG ? KINDS : KINDS.slice(0, 1))(
    'stays within its caches: %s',
    async (name, options, caches) => {
      const filename = join(directory, `${name}.qcow2`)
      await createImage(environment, {
        driver: 'qcow2',
        file: { driver: 'file', filename },
        size: SIZE,
        ...options,
      })
      const disk = await openNode(environment, {
        driver: 'qcow2',
        // Memory is what counts here: the host need not make anything durable.
        cache: { noFlush: true },
        ...caches,
        file: { driver: 'file', filename },
      })
      const random = createRandom(15)
      const bytes = new Uint8Array(4096)
      let most = 0
      for (let i = 0; i < REQUESTS; i++) {
        const offset = random.int(0, SIZE / bytes.length) * bytes.length
        if (random.chance(0.7)) await disk.write(offset, bytes.fill(i & 0xff))
        else await disk.read(offset, bytes)
        if (i % 4096 === 0) await disk.flush()
        if (i % 512 === 0) most = Math.max(most, held() - before)
      }
      await disk.close()
      rmSync(filename)
      console.log(`counted ${Math.round(most / MIB)} MiB at most: a disk of 1 TiB, ${name}`)
      expect(most).toBeLessThan(CACHES + REST)
      // It did not stay small because little was used.
      expect(most).toBeGreaterThan(CACHES / 2)
    },
  )
})
