/** A worker that creates, writes and exports a disk with its own handles, as an emulator in a worker does. */
import { exportImage, v86Disk } from '../browser.ts'

addEventListener('message', async ({ data: name }: MessageEvent<string>) => {
  try {
    const disk = await v86Disk({ opfs: name, size: '16M' })
    await disk.write(3, new Uint8Array(512).fill(7))
    const { file } = await exportImage(disk)
    await disk.close()
    postMessage({ file })
  } catch (error) {
    postMessage({ error: String(error) })
  }
})
