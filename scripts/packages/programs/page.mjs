// A program of a project: a page with a disk in the origin private file system, behind a worker. It is written, closed,
// opened again and read.
import { v86Disk } from '@vmblock/v86/browser'

async function main() {
  const disk = await v86Disk({ opfs: 'disk.qcow2', size: '1M' })
  await disk.write(3, new Uint8Array(512).fill(7))
  await disk.close()
  const again = await v86Disk({ opfs: 'disk.qcow2' })
  const sector = new Uint8Array(512)
  await again.read(3, sector)
  await again.close()
  return `read ${sector[0]}`
}

globalThis.result = main().catch((error) => `${error.stack ?? error}`)
