// Puts a Linux for the page into `public`: a BIOS, and a disk with the small Linux of the tests, made of
// Debian's packages (by apt, without installing anything). For another guest, put its own `disk.qcow2` there.
// Without any of that the page uses its notepad.
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { v86Disk } from '@vmblock/v86/node'
import { provideGuest } from '../../scripts/guest.mjs'
import { bootPart } from '../../scripts/guest-disk.mjs'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const guest = (name) => path(`../../.cache/guest/${name}`)

await provideGuest()
if (!existsSync(guest('bios.bin'))) throw new Error('the files of the guest are not there: see above')
mkdirSync(path('public'), { recursive: true })
for (const name of ['bios.bin', 'vgabios.bin']) copyFileSync(guest(name), path(`public/${name}`))
const file = path('public/disk.qcow2')
if (!existsSync(file)) {
  const disk = await v86Disk({ file, size: '2G' })
  const [kernel, initramfs] = ['vmlinuz.bin', 'initramfs.bin'].map((name) => readFileSync(guest(name)))
  const boot = bootPart(kernel, initramfs, disk.byteLength)
  // In pieces, so that pieces of zeroes take no space.
  for (let at = 0; at < boot.length; at += 2 ** 20)
    await disk.write(at / 512, boot.subarray(at, at + 2 ** 20))
  await disk.close()
}
