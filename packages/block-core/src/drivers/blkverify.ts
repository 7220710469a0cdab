/** The `blkverify` filter: two disks get the same requests, and what they read must be equal. For testing drivers. */
import { requireCallback, requireOptions } from '../base/arguments.ts'
import { errnoOf } from '../base/errno.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import { extent, filtered } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { forwardOps } from './pass-through.ts'
import { firstDifference, limitsOfAll } from './several-children.ts'

/** What the application provides to drivers that compare disks (blkverify, and quorum in its mode of that name). */
export interface MismatchHost {
  /**
   * Receives the line that says where two disks differ, without newline. QEMU prints it and ends the program on the spot;
   * if this returns, the request fails with EIO, and the line as its message.
   */
  readonly onMismatch?: ((line: string) => void) | undefined
}

/** @throws BlockError EINVAL for a wrong part of `host`, by its name */
export const requireMismatchHost = (host: MismatchHost): void =>
  requireOptions(host, 'host', { onMismatch: requireCallback })

/** Makes `blkverify:RAW:IMAGE` into options. @throws BlockError EINVAL */
function parseFilename(filename: string): Record<string, unknown> {
  const rest = filename.slice('blkverify:'.length)
  const colon = rest.indexOf(':')
  if (colon < 0) throw new BlockError('EINVAL', 'blkverify requires raw copy and original image path')
  return {
    driver: 'blkverify',
    raw: { filename: rest.slice(0, colon) },
    test: { filename: rest.slice(colon + 1) },
  }
}

/** How a request ended, as QEMU counts: 0, or a negative errno. */
interface Result {
  readonly errno: number
  readonly error?: unknown
}

const resultOf = (request: Promise<void>): Promise<Result> =>
  request.then(
    () => ({ errno: 0 }),
    (error: unknown) => ({ errno: -errnoOf(isBlockError(error) ? error.code : 'EIO'), error }),
  )

/**
 * Makes the `blkverify` driver for an application. Its disk is the image under `test`; the disk under `raw` holds what it
 * should be. Discards are dropped, because what is read afterwards may differ; zeroes are written as data.
 *
 * @throws BlockError EINVAL for a wrong part of `host`, by its name
 */
export function createBlkverify(host: MismatchHost = {}) {
  requireMismatchHost(host)
  return defineDriver({
    name: 'blkverify',
    kind: 'filter',
    // A file name without prefix stands for the first.
    children: { test: { ...extent, opens: 'probed' }, raw: filtered },
    prefixes: ['blkverify'],
    parseFilename,
    nameFromOptions(_options, raw = '', children) {
      const { filename: test } = children!.get('test')!
      return raw === '' || test.startsWith('json:') ? undefined : `blkverify:${raw}:${test}`
    },

    async open(context): Promise<NodeOps> {
      const raw = await context.requireChild('raw')
      const test = await context.requireChild('test')

      const fail = (kind: string, offset: number, bytes: number, what: string): never => {
        const line = `blkverify: ${kind} offset=${offset} bytes=${bytes} ${what}`
        host.onMismatch?.(line)
        throw new BlockError('EIO', line, { node: context.nodeName, offset })
      }
      /** Makes a request to both, and requires that it ends alike. */
      const both = async (
        kind: string,
        offset: number,
        bytes: number,
        toTest: Promise<void>,
        toRaw: Promise<void>,
      ): Promise<void> => {
        const [tested, expected] = await Promise.all([resultOf(toTest), resultOf(toRaw)])
        if (tested.errno !== expected.errno)
          fail(kind, offset, bytes, `return value mismatch ${tested.errno} != ${expected.errno}`)
        if (tested.errno !== 0) throw tested.error
      }

      return forwardOps(raw, {
        get limits() {
          return limitsOfAll([test, raw])
        },
        growable: false,
        size: () => test.size,
        async read(offset, into) {
          const { length } = into
          const expected = new Uint8Array(length)
          await both('read', offset, length, test.read(offset, into), raw.read(offset, expected))
          const at = firstDifference(into, expected)
          if (at >= 0) fail('read', offset, length, `contents mismatch at offset ${offset + at}`)
        },
        write: (offset, from) =>
          both('write', offset, from.length, test.write(offset, from), raw.write(offset, from)),
        // The other disk is not the one that matters.
        flush: () => test.flush(),
        writeFlags: undefined,
        zeroFlags: undefined,
        writeZeroes: undefined,
        writeCompressed: undefined,
        discard: undefined,
      })
    },
  })
}

/** `blkverify` whose requests fail where the disks differ. */
export const blkverify = createBlkverify()
