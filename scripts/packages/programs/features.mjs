// A program of a project: what the packages can do in this runtime. It prints a line of JSON: `yes` of each feature, or
// why not.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { BlockError, DriverRegistry, denyHost, formatImage, memory, openNode } from '@vmblock/block-core'
import { http } from '@vmblock/block-core/browser'
import { file, systemCallsReport } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { v86Disk } from '@vmblock/v86/node'

const env = { registry: new DriverRegistry([file, http, memory, qcow2]), host: denyHost }

const CLUSTER = 65536

/** Makes an empty image of 1 GiB. */
async function make(filename) {
  await writeFile(filename, '')
  const place = await openNode(env, { driver: 'file', filename })
  await formatImage(qcow2, place, { size: '1G', lazyRefcounts: true })
  await place.close()
}

/** Writes to an image, cuts the power, opens it again, reads; with options of the file's node. */
async function survives(filename, options = {}) {
  const source = { driver: 'qcow2', file: { driver: 'file', filename, ...options } }
  const disk = await openNode(env, source)
  await disk.write(CLUSTER, new Uint8Array(CLUSTER).fill(7))
  await disk.flush()
  await disk.crash()
  const again = await openNode(env, source)
  const read = new Uint8Array(CLUSTER)
  await again.read(CLUSTER, read)
  await again.close()
  if (!read.every((byte) => byte === 7)) throw new Error('other bytes were read than were written')
}

/** What is tried, in the order of the report; each gets the path of an image of its own. */
const FEATURES = {
  memory: async () => {
    const place = await openNode(env, { driver: 'memory' })
    await formatImage(qcow2, place, { size: '1M' })
    await place.close()
  },
  file: (path) => survives(path),
  'two writers are kept apart': async (path) => {
    const disk = await openNode(env, { driver: 'qcow2', file: { driver: 'file', filename: path } })
    const reason = await inThread(path)
    await disk.close()
    if (!/lock|in use/i.test(reason)) throw new Error(`the second writer was told: ${reason}`)
  },
  'worker threads': async (path) => {
    const reason = await inThread(path)
    if (reason !== 'yes') throw new Error(reason)
  },
  'system calls (koffi)': async () => {
    const { calls, missing } = systemCallsReport()
    if (calls.length === 0) throw new Error(missing)
  },
  "QEMU's file locks": (path) => survives(path, { locking: 'on' }),
  O_DIRECT: (path) => survives(path, { cache: { direct: true } }),
  'images from a web server': async () => {
    const bytes = new Uint8Array(CLUSTER).fill(7)
    const server = createServer((request, response) => {
      const [, from, to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [null, 0, '']
      const part = bytes.subarray(Number(from), to === '' ? undefined : Number(to) + 1)
      response.writeHead(206, {
        'accept-ranges': 'bytes',
        'content-length': part.length,
        'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`,
        etag: '"one"',
      })
      response.end(part)
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    const disk = await openNode(env, {
      driver: 'http',
      url: `http://127.0.0.1:${server.address().port}/disk`,
      readOnly: true,
    })
    const sector = new Uint8Array(512)
    await disk.read(1024, sector)
    await disk.close()
    server.closeAllConnections?.()
    await new Promise((resolve) => server.close(resolve))
    if (sector[0] !== 7) throw new Error('other bytes were read than were served')
  },
  'a disk for v86': async (path) => {
    const disk = await v86Disk({ file: path, size: '1G' })
    await disk.write(5, new Uint8Array(512).fill(7))
    await disk.close()
  },
}

/** Tries an image in a thread of its own. @returns `yes`, or why not */
function inThread(path) {
  const worker = new Worker(import.meta.filename, { workerData: path })
  return new Promise((resolve, reject) => {
    worker.once('message', (said) => worker.terminate().then(() => resolve(said), reject))
    worker.once('error', reject)
  })
}

const said = (trial) =>
  trial.then(
    () => 'yes',
    (error) => (error instanceof BlockError ? `${error.code}: ${error.message}` : error.message),
  )

async function main() {
  const directory = await mkdtemp(join(tmpdir(), 'vmblock-features-'))
  const report = {}
  for (const [index, [feature, trial]] of Object.entries(FEATURES).entries()) {
    const path = join(directory, `${index}.qcow2`)
    await make(path)
    report[feature] = await said(trial(path))
  }
  await rm(directory, { recursive: true, force: true })
  console.log(JSON.stringify(report))
}

if (isMainThread) await main()
else parentPort.postMessage(await said(survives(workerData)))
