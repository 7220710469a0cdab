// A program of a project: the package `vmblock` in a page. A disk in the origin private file system is made, written,
// closed, opened again and read.
import { create, open } from 'vmblock'

async function main() {
  const target = { opfs: 'door.qcow2' }
  await create(target, { size: '1M', overwrite: true })
  const disk = await open(target)
  await disk.write(1536, new Uint8Array(512).fill(7))
  await disk.close()
  const again = await open(target)
  const sector = await again.read(1536, 512)
  await again.close()
  return `read ${sector[0]}`
}

globalThis.result = main().catch((error) => `${error.stack ?? error}`)
