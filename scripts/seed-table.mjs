// What an allocating write costs: 128 writes of 4 KiB, each to a fresh cluster of 64 KiB and durable before it
// completes. Ours is counted by a log below the format, QEMU's by strace where that and qemu-io are installed.
// Prints a Markdown table.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setup } from './setup.mjs'
import { at, fail, mustRun, run, say } from './toolchain.mjs'

const WRITES = 128
const BYTES = 4096
const CLUSTER = 65536
/** The byte that is written, `Z`: it tells data from metadata. */
const PATTERN = 0x5a
const SIZE = 2 ** 30

const FORMATS = [
  { title: 'raw', format: 'raw', options: {} },
  { title: 'qcow2, eager', format: 'qcow2', options: { lazy_refcounts: 'off' } },
  { title: 'qcow2, lazy refcounts', format: 'qcow2', options: { lazy_refcounts: 'on' } },
  { title: 'QED', format: 'qed', options: {} },
]

/** Calls are `{ kind: 'write' | 'flush' | 'other', offset, bytes, isPattern }`. */
export function summarize(calls) {
  const writes = calls.filter(({ kind }) => kind === 'write')
  const clusterOf = ({ offset }) => Math.floor(offset / CLUSTER)
  // What is filled in around the guest's data is data, too.
  const dataClusters = new Set(writes.filter(({ isPattern }) => isPattern).map(clusterOf))
  const isData = (write) => dataClusters.has(clusterOf(write))
  const data = writes.filter(isData)
  const metadata = writes.filter((write) => !isData(write))
  const sum = (list) => list.reduce((total, { bytes }) => total + bytes, 0)
  const count = (wanted) => calls.filter(({ kind }) => kind === wanted).length
  return {
    dataWrites: data.length,
    metadataWrites: metadata.length,
    dataBytes: sum(data),
    metadataBytes: sum(metadata),
    flushes: count('flush'),
    others: count('other'),
  }
}

/** Our calls, on a disk in memory: from the opening of a new image to its clean shutdown. */
async function countOurs({ format, options }) {
  const load = (name) => import(pathToFileURL(at('packages', name, 'dist', 'index.js')).href)
  const core = await load('block-core')
  const { [format]: driver } = await load(format)
  const registry = new core.DriverRegistry([core.memory, core.writeLog, driver])
  const environment = { registry, host: core.denyHost }
  const file = await core.openNode(environment, { driver: 'memory' })
  await driver.create({
    file,
    options: core.parseOptions(driver.createOptions, { ...options, size: SIZE }),
  })
  const log = new core.WriteLog()
  const node = await core.openNode(environment, {
    driver: format,
    cache: { writeback: false },
    file: { driver: 'write-log', log, file },
  })
  for (let i = 0; i < WRITES; i++) await node.write(i * CLUSTER, new Uint8Array(BYTES).fill(PATTERN))
  await node.close()
  return log.entries.map(({ kind, offset, bytes, data }) => ({
    kind: kind === 'write' || kind === 'flush' ? kind : 'other',
    offset,
    bytes,
    isPattern: data?.[0] === PATTERN,
  }))
}

/** The calls on the image file in what `strace -f -y -s 1` printed. */
export function parseTrace(text, filename) {
  const calls = []
  for (const line of text.split('\n')) {
    const call = /\b(pwrite64|pwritev2?|fdatasync|fsync|fallocate|ftruncate)\(\d+<([^>]*)>(.*)/.exec(line)
    // A call that another thread interrupted is printed twice; its arguments come the first time.
    if (!call || call[2] !== filename) continue
    const [, name, , rest] = call
    if (name === 'fdatasync' || name === 'fsync') calls.push({ kind: 'flush', offset: 0, bytes: 0 })
    else if (name === 'fallocate' || name === 'ftruncate') calls.push({ kind: 'other', offset: 0, bytes: 0 })
    else calls.push(parseWrite(name, rest))
  }
  return calls
}

function parseWrite(name, rest) {
  const isPattern = /"Z"/.test(rest)
  if (name === 'pwrite64') {
    const [, bytes, offset] = /, (\d+), (\d+)(?:\)| <)/.exec(rest)
    return { kind: 'write', offset: Number(offset), bytes: Number(bytes), isPattern }
  }
  const bytes = [...rest.matchAll(/iov_len=(\d+)/g)].reduce((total, [, length]) => total + Number(length), 0)
  const [, offset] = /\], \d+, (\d+)/.exec(rest)
  return { kind: 'write', offset: Number(offset), bytes, isPattern }
}

/** The calls of QEMU's own qemu-io, from opening a new image to its clean shutdown. */
async function countTheirs({ format, options }) {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
  const image = join(directory, 'image')
  const trace = join(directory, 'trace')
  try {
    const list = Object.entries(options).map(([key, value]) => `${key}=${value}`)
    const words = list.length > 0 ? ['-o', list.join(',')] : []
    await mustRun('qemu-img create', 'qemu-img', ['create', '-f', format, ...words, image, String(SIZE)])
    const commands = Array.from({ length: WRITES }, (_, i) => [
      '-c',
      `write -P ${PATTERN} ${i * CLUSTER} ${BYTES}`,
    ])
    const traced = 'trace=pwrite64,pwritev,pwritev2,fdatasync,fsync,fallocate,ftruncate'
    const qemuIo = ['qemu-io', '-f', format, '-t', 'writethrough', ...commands.flat(), image]
    await mustRun('strace qemu-io', 'strace', ['-f', '-y', '-s', '1', '-e', traced, '-o', trace, ...qemuIo])
    return parseTrace(readFileSync(trace, 'utf8'), image)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const perWrite = (total) => (total / WRITES).toLocaleString('en', { maximumFractionDigits: 2 })

function printRow(title, calls) {
  const { dataWrites, metadataWrites, dataBytes, metadataBytes, flushes, others } = summarize(calls)
  const cells = [dataWrites, metadataWrites, flushes, others, dataBytes, metadataBytes]
  console.log(`| ${[title, ...cells.map(perWrite)].join(' | ')} |`)
}

async function main() {
  await setup()
  const version = await run('qemu-io', ['--version'])
  const qemu = /version ([\d.]+)/.exec(version.output)?.[1]
  const canTrace = qemu !== undefined && (await run('strace', ['-V'])).code === 0
  if (!canTrace) say('qemu-io or strace is missing: only our own counts')
  console.log('| per write | data writes | metadata writes | flushes | other | data bytes | metadata bytes |')
  console.log('| --- | --- | --- | --- | --- | --- | --- |')
  for (const row of FORMATS) {
    printRow(`${row.title}: vmblock`, await countOurs(row))
    if (canTrace) printRow(`${row.title}: QEMU ${qemu}`, await countTheirs(row))
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main().catch(fail)
