/** The contract of read-only disks for the format of Bochs. */
import { DriverRegistry, denyHost, openMemory, openNode } from '@vmblock/block-core'
import { readOnlyContract } from '@vmblock/block-core/testing'
import { bochs } from './driver.ts'
import { type BochsWishes, bochsImage } from './testing/images.ts'

const environment = { registry: new DriverRegistry([bochs]), host: denyHost }

describeContract('bochs', { full: true })
describeContract('bochs, version 1, large extents, backwards', {
  full: true,
  version: 1,
  extentSize: 65536,
  backwards: true,
})

function describeContract(name: string, wishes: BochsWishes): void {
  const open = (content: Uint8Array) =>
    openNode(environment, {
      driver: 'bochs',
      file: openMemory(bochsImage(content, wishes)),
      readOnly: true,
    })
  readOnlyContract(name, open, 512)
}
