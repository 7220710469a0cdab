// Puts into `public` what the page boots: the small Linux of the tests, and a disk for it, empty. Another guest needs no more
// than its own `disk.qcow2` there.
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { v86Disk } from '@vmblock/v86/node'
import { provideGuest } from '../../scripts/guest.mjs'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))

await provideGuest()
mkdirSync(path('public'), { recursive: true })
for (const name of ['bios.bin', 'vgabios.bin', 'vmlinuz.bin', 'initramfs.bin'])
  copyFileSync(path(`../../.cache/guest/${name}`), path(`public/${name}`))
if (!existsSync(path('public/disk.qcow2')))
  await (await v86Disk({ file: path('public/disk.qcow2'), size: '2G' })).close()
