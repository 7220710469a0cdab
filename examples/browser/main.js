/**
 * A machine whose disk stays in this browser: over a qcow2 image on the web server, of which only the parts
 * that are read are fetched, or, if the server has none, a small disk of its own. The page says what happens
 * to the disk, and lets the user download it.
 */
import { attachDisk } from '@vmblock/v86'
import { exportImage, v86Disk } from '@vmblock/v86/browser'
import { V86 } from 'v86'
import wasm from 'v86/build/v86.wasm?url'
import { notepad } from './notepad.js'

const show = (id, text) => {
  document.getElementById(id).value = text
}
const say = (text) => show('said', text)
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** A message for an error, and what to do about it. */
function explain(error) {
  if (error.code === 'EBUSY') return 'The disk is open in another tab. Close that tab, and reload this one.'
  if (error.code === 'ENOSPC')
    return 'This browser gives the page no more room. Free space on this computer, or delete data of this site.'
  return `Failed: ${error.message}. Reload the page to try again.`
}

/** Whether the server has a file. Development servers answer for missing files with the page itself. */
async function isServed(file) {
  const { ok, headers } = await fetch(file, { method: 'HEAD' })
  return ok && !headers.get('content-type')?.startsWith('text/html')
}

let fetched = 0
/** `fetch` that counts the bytes fetched, and notes the total. */
async function countingFetch(url, init) {
  const response = await fetch(url, init)
  const [, from, to, total] = /(\d+)-(\d+)\/(\d+)/.exec(response.headers.get('content-range')) ?? []
  if (from !== undefined) {
    fetched += to - from + 1
    show('fetched', `${mib(fetched)} of ${mib(total)}`)
  }
  return response
}

const LINUX = {
  disk: { overlay: { opfs: 'mine.qcow2' }, base: { url: 'disk.qcow2', fetch: countingFetch } },
  machine: {
    bios: { url: 'bios.bin' },
    vga_bios: { url: 'vgabios.bin' },
    fastboot: true,
    memory_size: 96 * 2 ** 20,
  },
}
const NOTEPAD = {
  disk: { opfs: 'notepad.qcow2', size: '64M' },
  machine: { multiboot: { buffer: notepad() }, memory_size: 16 * 2 ** 20 },
}

async function openDisk(source) {
  // An image that was in use is marked dirty, and is repaired when it is opened again. That is worth a
  // message only if the previous page had no time to save.
  const ended = localStorage.getItem('ended')
  let isRepaired = false
  const disk = await v86Disk(source, {
    onRepair() {
      isRepaired = true
    },
  })
  localStorage.removeItem('ended')
  addEventListener('pagehide', () => localStorage.setItem('ended', disk.isDirty ? 'unsaved' : 'saved'))
  addEventListener('pageshow', () => localStorage.removeItem('ended'))
  say(
    isRepaired && ended !== 'saved'
      ? 'The page ended before all was saved. The disk was repaired; what had been saved is there.'
      : 'The disk is open.',
  )
  return disk
}

function watch(disk) {
  const showStored = async () => {
    const { usage, quota } = await navigator.storage.estimate()
    const kept = await navigator.storage.persisted()
    show(
      'stored',
      `${mib(usage)} of at most ${mib(quota)}${kept ? '' : ', which it may drop if it needs room'}`,
    )
  }
  const resume = document.getElementById('resume')
  resume.addEventListener('click', () => disk.resume())
  disk.on('dirty', (isDirty) => show('saved', isDirty ? 'not saved yet' : 'all saved'))
  disk.on('flushed', showStored)
  // Nothing is lost: the machine waits until there is room.
  disk.on('stop', (error) => {
    resume.hidden = false
    say(`The machine is paused. ${explain(error)}`)
  })
  disk.on('resume', () => {
    resume.hidden = true
    say('The machine goes on.')
  })
  disk.on('error', ({ operation, error }) => {
    if (!disk.isStopped) say(`A ${operation} did not succeed. ${explain(error)}`)
  })
  void navigator.storage.persist().then(showStored)
}

async function download(disk, emulator, format) {
  const image = await exportImage(disk, {
    format,
    emulator,
    onProgress: (done, total) => say(`Exporting: ${Math.round((100 * done) / total)}%`),
  })
  const link = document.createElement('a')
  link.href = URL.createObjectURL(image.file)
  link.download = image.file.name
  link.click()
  say(`${image.file.name} (${mib(image.file.size)}) is being downloaded.`)
  // Browsers do not tell when a download has ended: half a minute, plus the time for 10 MB/s. If the page
  // ends first, the next one that opens a disk removes the copy.
  setTimeout(
    () => {
      URL.revokeObjectURL(link.href)
      void image.remove()
    },
    30_000 + image.file.size / 10_000,
  )
}

async function start() {
  const { disk: source, machine } = (await isServed('bios.bin')) ? LINUX : NOTEPAD
  const disk = await openDisk(source)
  watch(disk)
  const emulator = new V86({
    ...machine,
    hda: disk,
    wasm_path: wasm,
    serial_console: { type: 'textarea', container: document.getElementById('console') },
    autostart: false,
  })
  emulator.add_listener('emulator-loaded', () => {
    attachDisk(emulator, disk)
    void emulator.run()
  })
  for (const button of document.querySelectorAll('button[value]'))
    button.addEventListener('click', () =>
      download(disk, emulator, button.value).catch((error) => say(explain(error))),
    )
  // For the developer tools.
  Object.assign(globalThis, { disk, emulator })
}

start().catch((error) => say(explain(error)))
