/** Writing more than fits into memory takes a bounded amount of it; the figures are printed. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core'
import { createRandom, nodeOf } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import { V86Disk } from '@vmblock/v86'
import { describe, expect, test } from 'vitest'

const MIB = 2 ** 20
const LONG = process.env['VMBLOCK_LONG'] === '1'
/** Bytes that are written. */
const TOTAL = (LONG ? 4096 : 256) * MIB
/** Bytes: what the disk may hold by its options, and as much again for garbage that was not collected yet. */
const BOUND = 128 * MIB
const WRITE_BUFFER = 4 * MIB

const environment: OpenEnvironment = {
  registry: new DriverRegistry([raw, qcow2, memory]),
  host: denyHost,
}

/** A slow node that keeps nothing but its size. */
function nothing(): BlockNode {
  let size = TOTAL
  return nodeOf({
    growable: true,
    size: () => size,
    read: (_, into) => Promise.resolve(void into.fill(0)),
    write: () => new Promise((resolve) => setTimeout(resolve, 1)),
    async truncate(bytes) {
      size = bytes
    },
    flush: () => Promise.resolve(),
  })
}

const TARGETS = {
  raw: () => openNode(environment, { driver: 'raw', file: nothing() }),
  // Its tables are kept, its data is not.
  qcow2: async () => {
    const file = await openNode(environment, { driver: 'memory' })
    const data = nothing()
    await formatImage(qcow2, file, { size: TOTAL, lazyRefcounts: true, dataFile: 'nothing' }, data)
    return openNode(environment, { driver: 'qcow2', file, 'data-file': data })
  },
}

/** Bytes that the process holds in memory that a disk can use. */
const held = (): number => {
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

describe('memory', () => {
  test.each(Object.entries(TARGETS))(
    'of %s stays within its bound',
    async (name, open) => {
      const disk = new V86Disk(await open(), {
        ownsNode: true,
        writeBuffer: WRITE_BUFFER,
        cacheSize: 8 * MIB,
      })
      const random = createRandom(1)
      const data = random.bytes(MIB)
      const start = { held: held(), rss: process.memoryUsage().rss }
      const peak = { held: 0, rss: 0, pending: 0 }
      let waits = 0
      for (let at = 0, count = 0; at < TOTAL; count++) {
        const length = Math.min(512 * random.int(1, 2049), TOTAL - at)
        const offset = at
        let isDone = false
        // Like v86's DMA: the next command comes when this one has ended.
        const write = new Promise<void>((resolve) =>
          disk.set(offset, data.subarray(0, length), () => {
            isDone = true
            resolve()
          }),
        )
        peak.pending = Math.max(peak.pending, disk.statistics.bytesPending)
        if (!isDone) waits++
        await write
        at += length
        if (count % 64 !== 0) continue
        disk.get(512 * random.int(0, at / 512), 512, () => undefined)
        peak.held = Math.max(peak.held, held() - start.held)
        peak.rss = Math.max(peak.rss, process.memoryUsage().rss - start.rss)
      }
      await disk.close()
      const mib = (bytes: number): string => `${Math.ceil(bytes / MIB)} MiB`
      console.log(
        `counted ${TOTAL / MIB} mebibytes written: ${name}; beyond the start at most ${mib(peak.held)} of heap and buffers, ` +
          `${mib(peak.rss)} resident; ${mib(peak.pending)} on their way`,
      )
      expect(waits, 'writes that had to wait').toBeGreaterThan(10)
      expect(peak.pending).toBeLessThan(WRITE_BUFFER + MIB + 1)
      expect(peak.held).toBeLessThan(BOUND)
    },
    600_000,
  )
})
