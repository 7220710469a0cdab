/** New overlays: the options that `formatImage` takes from the base, so that they need not be repeated. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
  passThrough,
} from '@vmblock/block-core'
import { file } from '@vmblock/block-core/node'
import { raw } from '@vmblock/raw'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { qcow2 } from '../driver.ts'

describe('an overlay', () => {
  const environment = {
    registry: new DriverRegistry([memory, file, raw, qcow2, passThrough]),
    host: denyHost,
  }
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vmblock-overlay-'))
    writeFileSync(join(directory, 'base'), new Uint8Array(65536).fill(3))
    writeFileSync(join(directory, 'o'), '')
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const openFile = (): Promise<BlockNode> =>
    openNode(environment, { driver: 'file', filename: join(directory, 'o') })

  it('has the size of the base that is named, from where the overlay is', async () => {
    const node = await openFile()
    await formatImage(qcow2, node, { backingFile: 'base', backingFmt: 'raw' })
    const bytes = new Uint8Array(112)
    await node.read(0, bytes)
    expect(new DataView(bytes.buffer).getBigUint64(24)).toBe(65536n)
    await expect(formatImage(qcow2, node, { backingFile: 'none', backingFmt: 'raw' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
    await node.close()
  })

  it('has size, name and format of a base that is open, filters aside', async () => {
    const base = await openNode(environment, {
      driver: 'pass-through',
      file: { driver: 'raw', file: { driver: 'file', filename: join(directory, 'base') } },
    })
    const node = await openFile()
    await formatImage(qcow2, node, { backing: base })
    const overlay = await openNode(environment, { driver: 'qcow2', file: node, backing: base })
    const info = await overlay.info()
    expect([overlay.size, info.backingFilename, info.backingFormat]).toEqual([
      65536,
      join(directory, 'base'),
      'raw',
    ])
    for (const open of [overlay, node, base]) await open.close()
  })

  it('has the size that is given, and none without a base', async () => {
    const node = await openNode(environment, { driver: 'memory' })
    const base = await openNode(environment, { driver: 'memory', size: 1024 })
    await formatImage(qcow2, node, { backing: base, size: 4096 })
    const overlay = await openNode(environment, { driver: 'qcow2', file: node, backing: base })
    expect(overlay.size).toBe(4096)
    await overlay.close()
    const empty = await openNode(environment, { driver: 'memory' })
    await expect(formatImage(qcow2, empty, {})).rejects.toThrow('Image creation needs a size parameter')
  })
})
