// A program of a project: what the packages can do in a page, and in a worker of a page. The result is of each feature
// `yes`, or why not.
import { v86Disk } from '@vmblock/v86/browser'

const where = globalThis.document ? 'page' : 'worker'

/** Writes to a disk, closes it, opens it again, reads. */
async function keeps(source) {
  const disk = await v86Disk({ ...source, size: '1M' })
  await disk.write(3, new Uint8Array(512).fill(7))
  await disk.close()
  await reads(source)
}

async function reads(source) {
  const disk = await v86Disk(source)
  const sector = new Uint8Array(512)
  await disk.read(3, sector)
  await disk.close()
  if (sector[0] !== 7) throw new Error('other bytes were read than were written')
}

const picked = new Blob([new Uint8Array(65536).fill(7)])

const FEATURES = {
  memory: async () => {
    const disk = await v86Disk({ memory: 65536 })
    await disk.write(3, new Uint8Array(512))
    await disk.close()
  },
  OPFS: () => keeps({ opfs: `${where}.qcow2` }),
  IndexedDB: () => keeps({ indexeddb: where }),
  'picked files': () => reads({ blob: picked }),
  'images from a web server': () => reads({ url: new URL('sevens', location.href).href }),
  'overlay of OPFS on an image from a web server': () =>
    reads({
      overlay: { opfs: `${where}-overlay.qcow2` },
      base: { url: new URL('sevens', location.href).href },
    }),
}

async function main() {
  const report = {}
  for (const [feature, trial] of Object.entries(FEATURES))
    report[feature] = await trial().then(
      () => 'yes',
      (error) => error.message,
    )
  return report
}

const inWorker = () => {
  const worker = new Worker(new URL('./main.js', import.meta.url), { type: 'module' })
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data)
    worker.onerror = ({ message }) => reject(new Error(message))
  })
}

if (globalThis.document)
  globalThis.result = (async () => JSON.stringify({ page: await main(), worker: await inWorker() }))()
else void main().then((report) => globalThis.postMessage(report))
