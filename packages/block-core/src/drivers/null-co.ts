/** The `null-co` protocol: accepts every write and stores nothing. For measuring the layers above it. */

import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockStatus } from '../contract/node.ts'
import { bool, integer, size } from '../text/options.ts'

const DONE = Promise.resolve()

const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds)
  })

/**
 * QEMU's driver of that name, with its options. Without `read-zeroes` a read leaves the caller's buffer
 * unchanged (block/null.c), which is as fast as a disk can be. The content is then undefined: its status is
 * neither data nor zeroes, and not allocated.
 */
export const nullCo = defineDriver({
  name: 'null-co',
  kind: 'protocol',
  options: {
    size: size('size of the null block', 2 ** 30),
    latencyNs: integer('nanoseconds (approximated) to wait before completing request', 0),
    readZeroes: bool('return zeroes when read', false),
  },
  prefixes: ['null-co'],

  parseFilename(filename) {
    if (filename !== 'null-co://')
      throw new BlockError('EINVAL', "The only allowed filename for this driver is 'null-co://'")
    return { driver: 'null-co' }
  },

  nameFromOptions(options) {
    const known = ['filename', 'latency-ns', 'latencyNs']
    return Object.keys(options).every((key) => known.includes(key)) ? 'null-co://' : undefined
  },

  async open({ options }) {
    const { latencyNs, readZeroes } = options
    const wait = (): Promise<void> => (latencyNs === 0 ? DONE : delay(latencyNs / 1e6))
    return {
      writeFlags: new Set(['fua']),
      size: () => options.size,
      read(_offset, into) {
        if (readZeroes) into.fill(0)
        return wait()
      },
      write: wait,
      flush: wait,
      blockStatus: (_offset, bytes): Promise<BlockStatus> =>
        Promise.resolve({ bytes, allocated: readZeroes, data: false, zero: readZeroes }),
      info: () => Promise.resolve({ actualSize: 0 }),
    }
  },
})
