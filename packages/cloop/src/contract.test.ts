/** The contract of read-only disks for the cloop format. */
import { deflateSync } from 'node:zlib'
import { DriverRegistry, denyHost, openMemory, openNode } from '@vmblock/block-core'
import { readOnlyContract } from '@vmblock/block-core/testing'
import { cloop } from './driver.ts'
import { cloopImage } from './testing/images.ts'

const environment = { registry: new DriverRegistry([cloop]), host: denyHost }
const compress = (block: Uint8Array): Uint8Array => new Uint8Array(deflateSync(block))

readOnlyContract(
  'cloop',
  (content) =>
    openNode(environment, {
      driver: 'cloop',
      file: openMemory(cloopImage(content, { compress })),
      readOnly: true,
    }),
  4096,
)

readOnlyContract(
  'cloop with small blocks',
  (content) =>
    openNode(environment, {
      driver: 'cloop',
      file: openMemory(cloopImage(content, { blockSize: 1024 })),
      readOnly: true,
    }),
  1024,
)
