// A program of a project: the declarations of what pages import, without those of Node.js.
import { DriverRegistry, denyHost, openNode } from '@vmblock/block-core'
import { blob, http, indexedDb, opfs } from '@vmblock/block-core/browser'
import { formats } from '@vmblock/formats'
import { exportImage, v86Disk } from '@vmblock/v86/browser'

const env = { registry: new DriverRegistry([...formats, blob, http, indexedDb, opfs]), host: denyHost }

export async function download(picked: File): Promise<File> {
  const node = await openNode(env, { driver: 'blob', blob: picked, readOnly: true })
  await node.close()
  const disk = await v86Disk({ overlay: { opfs: 'mine.qcow2' }, base: picked })
  const { file } = await exportImage(disk)
  return file
}
