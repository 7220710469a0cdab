/** The smallest page with a persistent disk; the tests check what it reports about the disk. */
import { v86Disk } from '@vmblock/v86/browser'

async function run() {
  const source = { opfs: 'disk.qcow2', ...globalThis.more }
  const disk = await v86Disk({ ...source, size: '1M' })
  await disk.write(3, new Uint8Array(512).fill(7))
  await disk.close()
  const again = await v86Disk(source)
  const sector = new Uint8Array(512)
  await again.read(3, sector)
  await again.close()
  return `read ${sector[0]}`
}

globalThis.result = run().catch((error) => error.message)
