// A program of a project: the eight things of the package `vmblock` (make, open, write and flush, read, walk, convert,
// check, abort), typed to the last option. Each `@ts-expect-error` stands for a mistake that must not compile.
import { rmSync } from 'node:fs'
import { check, convert, create, info, isBlockError, open } from 'vmblock'

for (const name of ['door.qcow2', 'mine.qcow2', 'copy.qed', 'never.raw']) rmSync(name, { force: true })

await create('door.qcow2', { size: '64M', lazyRefcounts: true, clusterSize: '64k' })
await create('mine.qcow2', { backing: 'door.qcow2' })

let first: number | undefined
{
  await using disk = await open('mine.qcow2', { readOnly: false })
  await disk.write(4096, new Uint8Array(512).fill(7))
  await disk.flush()
  const head = await disk.read(4096, 512)
  const into: Uint8Array = await disk.read(4096, new Uint8Array(512))
  first = into[0] === head[0] ? head[0] : undefined
  let isThere = false
  for await (const { offset, bytes, kind } of disk.extents())
    isThere ||= kind === 'data' && offset <= 4096 && offset + bytes >= 4608
  if (!isThere) throw new Error('what was written is in no extent')
  await disk.commit({ onProgress: ({ fraction }) => void fraction.toFixed(2) })
}

const abort = new AbortController()
await convert('door.qcow2', 'copy.qed', {
  onProgress: ({ done, total }) => void (done / total),
  signal: abort.signal,
})
abort.abort('enough')
const reason: unknown = await convert('copy.qed', 'never.raw', { signal: abort.signal }).catch(
  (why: unknown) => why,
)
const { findings, leaks } = await check('door.qcow2', { repair: 'leaks' })
const { format } = await info('copy.qed')

async function refused(run: () => unknown): Promise<void> {
  const error: unknown = await (async () => run())().catch((error: unknown) => error)
  if (!isBlockError(error, 'EINVAL')) throw new Error(`a mistake was not refused: ${String(error)}`)
}
// @ts-expect-error
await refused(() => create('a.qcow2', { size: '1M', lazyRefcount: true }))
// @ts-expect-error
await refused(() => create('a.qcow2', { size: '1M', preallocation: 'some' }))
// @ts-expect-error
await refused(() => open('door.qcow2', { readonly: true }))
// @ts-expect-error
await refused(() => convert('door.qcow2', 'b.raw', { onprogress: () => undefined }))
// @ts-expect-error
await refused(() => check('door.qcow2', { repair: 'leak' }))
// @ts-expect-error
await refused(() => open({ fiel: 'door.qcow2' }))

console.log(
  findings.length + leaks === 0 && format === 'qed' && reason === 'enough'
    ? `read ${first}`
    : 'something else',
)
