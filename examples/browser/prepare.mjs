// Puts into `public` what the page boots: a BIOS, and a disk with the small Linux of the tests. Another guest needs no more than
// its own `disk.qcow2` there.
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { v86Disk } from '@vmblock/v86/node'
import { provideGuest } from '../../scripts/guest.mjs'
import { bootPart } from '../../scripts/guest-disk.mjs'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const guest = (name) => path(`../../.cache/guest/${name}`)

await provideGuest()
mkdirSync(path('public'), { recursive: true })
for (const name of ['bios.bin', 'vgabios.bin']) copyFileSync(guest(name), path(`public/${name}`))
const file = path('public/disk.qcow2')
if (!existsSync(file)) {
  const disk = await v86Disk({ file, size: '2G' })
  const [kernel, initramfs] = ['vmlinuz.bin', 'initramfs.bin'].map((name) => readFileSync(guest(name)))
  const boot = bootPart(kernel, initramfs, disk.byteLength)
  // In pieces, so that those of zeroes take no room.
  for (let at = 0; at < boot.length; at += 2 ** 20)
    await disk.write(at / 512, boot.subarray(at, at + 2 ** 20))
  await disk.close()
}
