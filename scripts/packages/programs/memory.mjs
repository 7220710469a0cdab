// A program of a project: a qcow2 image in memory, which is written, loses power, is opened again and read. It runs
// wherever JavaScript does.
import { DriverRegistry, denyHost, formatImage, memory, openNode } from '@vmblock/block-core'
import { qcow2 } from '@vmblock/qcow2'

async function main() {
  const env = { registry: new DriverRegistry([memory, qcow2]), host: denyHost }
  const file = await openNode(env, { driver: 'memory' })
  await formatImage(qcow2, file, { size: '1G', lazyRefcounts: true })
  const disk = await openNode(env, { driver: 'qcow2', file })
  await disk.write(4096, new Uint8Array(512).fill(7))
  await disk.flush()
  await disk.crash()
  const again = await openNode(env, { driver: 'qcow2', file })
  const sector = new Uint8Array(512)
  await again.read(4096, sector)
  await again.close()
  await file.close()
  return `read ${sector[0]}`
}

globalThis.result = main().catch((error) => `${error.stack ?? error}`)
globalThis.result.then((text) => console.log(text))
