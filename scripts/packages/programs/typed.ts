// A program of a project: what the declarations must say of the calls that most applications make.
import {
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
} from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { formats } from '@vmblock/formats'
import { qcow2 } from '@vmblock/qcow2'
import { v86Disk } from '@vmblock/v86/node'

const env = { registry: new DriverRegistry([...formats, memory, file]), host: denyHost }

async function main(): Promise<string> {
  const place: BlockNode = await openNode(env, { driver: 'memory' })
  await formatImage(qcow2, place, { size: '1M', lazyRefcounts: true })
  const disk = await openNode({ ...env, host: nodeHost({ allow: 'none' }) }, { driver: 'qcow2', file: place })
  await disk.write(0, new Uint8Array(512).fill(7))
  const sector = new Uint8Array(512)
  await disk.read(0, sector)
  await disk.close()
  try {
    // @ts-expect-error a disk is made of something
    await v86Disk()
  } catch (error) {
    if (!(error instanceof BlockError) || error.code !== 'EINVAL') throw error
  }
  return `read ${sector[0]}`
}

void main().then(console.log)
