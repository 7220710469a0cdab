import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

type Parts = typeof import('../index.ts') &
  typeof import('../driver.ts') &
  typeof import('../late.ts') &
  Pick<typeof import('../node-js/index.ts'), 'file' | 'fromHostError'>

/** Loads the library a second time, like another build, or another copy in `node_modules`. */
async function loadCopy(): Promise<Parts> {
  vi.resetModules()
  const root = await import('../index.ts')
  const driver = await import('../driver.ts')
  const late = await import('../late.ts')
  const { file, fromHostError } = await import('../node-js/index.ts')
  return { ...root, ...driver, ...late, file, fromHostError }
}

let folder: string
let ours: Parts
let theirs: Parts

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'copies-'))
  ours = await loadCopy()
  theirs = await loadCopy()
})
afterEach(() => rm(folder, { recursive: true }))

const environment = (of: Parts) => ({
  registry: new of.DriverRegistry([of.memory, of.file]),
  host: of.denyHost,
})

describe('two copies of the library', () => {
  it('are two', () => {
    expect(ours.BlockError).not.toBe(theirs.BlockError)
    expect(ours.BlockNode).not.toBe(theirs.BlockNode)
  })

  it("know each other's errors", async () => {
    const error = await theirs
      .openNode(environment(theirs), { driver: 'x' as never })
      .catch((error: unknown) => error)
    expect([
      ours.isBlockError(error),
      ours.isBlockError(error, 'ENOENT'),
      ours.isBlockError(error, 'EIO'),
    ]).toEqual([true, true, false])
    expect(error instanceof ours.BlockError).toBe(true)
    expect(ours.fromHostError(error, 'x')).toBe(error)
    expect(ours.errorText(error)).toBe('No such file or directory')
    class Own extends ours.BlockError {}
    expect(error instanceof Own).toBe(false)
    expect(new Own('EIO', 'x') instanceof theirs.BlockError).toBe(true)
    for (const other of [new Error('x'), null, undefined, 'EIO', { code: 'EIO', name: 'BlockError' }])
      expect(ours.isBlockError(other)).toBe(false)
  })

  it("know each other's nodes, and no forgeries", async () => {
    const node = await theirs.openNode(environment(theirs), { driver: 'memory', size: 512 })
    expect(node instanceof ours.BlockNode).toBe(true)
    const forged = Object.create(Object.getPrototypeOf(node), Object.getOwnPropertyDescriptors(node))
    for (const value of [forged, { ...node }, null, 5, {}])
      expect(value instanceof ours.BlockNode).toBe(false)
    await expect(ours.reopenNode(forged, {})).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it('make one graph', async () => {
    // Throws ENOTSUP, which the other copy must recognize.
    const layer = theirs.defineDriver({
      name: 'layer',
      kind: 'format',
      async open(context) {
        const child = await context.requireChild('file')
        return {
          size: () => child.size,
          read: (offset, into) => child.read(offset, into),
          write: (offset, from) => child.write(offset, from),
          writeZeroes: () => Promise.reject(new theirs.BlockError('ENOTSUP', 'not here')),
          discard: () => Promise.reject(new theirs.BlockError('ENOTSUP', 'not here')),
        }
      },
    })
    const file = await theirs.openNode(environment(theirs), { driver: 'memory', size: 4096 })
    const env = { registry: new ours.DriverRegistry([ours.memory, layer]), host: ours.denyHost }
    const node = await ours.openNode(env, { driver: 'layer', file, discard: 'unmap' })
    await node.write(0, new Uint8Array(1024).fill(1))
    await node.writeZeroes(0, 512)
    await node.discard(0, 512)
    const into = new Uint8Array(1024)
    await node.read(0, into)
    expect(into.reduce((sum, byte) => sum + byte, 0)).toBe(512)
    await expect(file.close()).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(ours.openNode(env, { driver: 'layer', file })).rejects.toMatchObject({ code: 'EBUSY' })
    // Copying inside the host system between nodes of two copies is refused cleanly.
    const target = await ours.openNode(env, { driver: 'memory', size: 4096 })
    await expect(target.copyRange(0, 512, file, 0)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await node.close()
    await file.close()
  })

  it('do not let two writers at one file', async () => {
    const filename = join(folder, 'disk')
    await writeFile(filename, new Uint8Array(512))
    const first = await ours.openNode(environment(ours), { driver: 'file', filename })
    await expect(theirs.openNode(environment(theirs), { driver: 'file', filename })).rejects.toMatchObject({
      code: 'EBUSY',
    })
    await expect(theirs.file.createFile!({ filename } as never, 0, 'off')).rejects.toMatchObject({
      code: 'EBUSY',
    })
    await first.close()
    await (await theirs.openNode(environment(theirs), { driver: 'file', filename })).close()
  })

  it("reopen each other's nodes", async () => {
    const node = await theirs.openNode(environment(theirs), { driver: 'memory', size: 512 })
    await ours.reopenNode(node, { readOnly: true })
    await expect(node.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'EPERM' })
  })
})
