/** Boots from a qcow2 image on the web server; what the guest writes stays in an overlay in this browser, and can be taken out. */
import { attachDisk } from '@vmblock/v86'
import { exportImage, v86Disk } from '@vmblock/v86/browser'
import { V86 } from 'v86'
import wasm from 'v86/build/v86.wasm?url'

const say = (line) => {
  document.querySelector('output').value = line
}

const source = { overlay: { opfs: 'mine.qcow2' }, base: { url: 'disk.qcow2' } }
const disk = await v86Disk(source, { onRepair: () => say('repaired after a sudden end') })
const emulator = new V86({
  hda: disk,
  wasm_path: wasm,
  memory_size: 96 * 2 ** 20,
  bios: { url: 'bios.bin' },
  vga_bios: { url: 'vgabios.bin' },
  fastboot: true,
  serial_console: { type: 'textarea', container: document.querySelector('#console') },
  autostart: false,
})
emulator.add_listener('emulator-loaded', () => {
  attachDisk(emulator, disk)
  void emulator.run()
})

for (const button of document.querySelectorAll('button'))
  button.addEventListener('click', async () => {
    try {
      const image = await exportImage(disk, {
        format: button.value,
        emulator,
        onProgress: (done, total) => say(`${Math.round((100 * done) / total)}%`),
      })
      const link = document.createElement('a')
      link.href = URL.createObjectURL(image.file)
      link.download = image.file.name
      link.click()
    } catch (error) {
      say(error.message)
    }
  })

// For the developer tools.
Object.assign(globalThis, { disk, emulator })
