/** The contract of read-only disks for dmg images. */
import { deflateSync } from 'node:zlib'
import { DriverRegistry, denyHost, openMemory, openNode } from '@vmblock/block-core'
import { readOnlyContract } from '@vmblock/block-core/testing'
import { dmg } from './driver.ts'
import { TYPE } from './format/chunks.ts'
import { type DmgChunk, dmgImage } from './testing/images.ts'

const environment = { registry: new DriverRegistry([dmg]), host: denyHost }
const SECTOR = 512
/** Sectors of a chunk. */
const CHUNK = 128

const compress = (data: Uint8Array): Uint8Array => new Uint8Array(deflateSync(data))

function contract(name: string, type: number, encode: (data: Uint8Array) => Uint8Array): void {
  const open = (content: Uint8Array) => {
    const sectors = content.length / SECTOR
    const chunks: DmgChunk[] = []
    for (let sector = 0; sector < sectors; sector += CHUNK) {
      const count = Math.min(CHUNK, sectors - sector)
      const data = encode(content.subarray(sector * SECTOR, (sector + count) * SECTOR))
      chunks.push({ type, sector, sectors: count, data })
    }
    const file = openMemory(dmgImage({ tables: [{ chunks }], sectors }))
    return openNode(environment, { driver: 'dmg', file, readOnly: true })
  }
  readOnlyContract(name, open, SECTOR)
}

contract('dmg of raw chunks', TYPE.raw, (data) => data)
contract('dmg of zlib chunks', TYPE.zlib, compress)
