/** Node's codecs give what the driver's own give: good data, data with something behind it, and bad data. */
import { deflateRawSync } from 'node:zlib'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { codecFor } from '../../../qcow2/src/compression/codec.ts'
import { zlibCodecs } from './zlib-codecs.ts'

const CLUSTER = 65536
const cluster = new Uint8Array(CLUSTER).fill(5)
cluster.set(createRandom(1).bytes(CLUSTER / 2))
const deflated = deflateRawSync(cluster, { windowBits: 12 })
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

const CASES: readonly (readonly [name: string, data: Uint8Array, bytes: number])[] = [
  ['a cluster', deflated, CLUSTER],
  ['a cluster with the next one behind it', joined(deflated, deflated), CLUSTER],
  ['a cluster with junk behind it', joined(deflated, new Uint8Array(300).fill(0xff)), CLUSTER],
  ['more than a cluster', deflated, 4096],
  ['less than a cluster', deflateRawSync(cluster.subarray(0, 1000)), CLUSTER],
  ['a stream that is cut off before the cluster is full', deflated.subarray(0, 20_000), CLUSTER],
  ['a stream that is cut off behind the cluster', deflated.subarray(0, deflated.length - 1), 4096],
  ['no stream', new Uint8Array(512).fill(0xff), CLUSTER],
  ['nothing', new Uint8Array(0), CLUSTER],
]

describe("Node's zlib", () => {
  it.each(CASES)('%s', async (_, data, bytes) => {
    const outcome = (type: 'own' | 'node') =>
      (type === 'own' ? codecFor('zlib') : codecFor('zlib', zlibCodecs)).decompress(data.slice(), bytes).then(
        (got) => Buffer.from(got).toString('latin1'),
        ({ code, message }) => ({ code, message }),
      )
    expect(await outcome('node')).toEqual(await outcome('own'))
  })
})
