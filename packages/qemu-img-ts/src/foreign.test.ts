/**
 * Images of formats without a driver: no command reads, writes or takes one for raw unless `raw` is given.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FOREIGN_FILES, FORMATS_WITH_DRIVER } from '@vmblock/block-core/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runOurs } from './testing/two-programs.ts'

let directory: string
const before = process.cwd()
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'foreign-'))
  process.chdir(directory)
})
afterEach(() => {
  process.chdir(before)
  rmSync(directory, { recursive: true })
})

/** One file of each format. */
const EACH = FOREIGN_FILES.filter(
  ([format], index) =>
    FOREIGN_FILES.findIndex(([other]) => other === format) === index && !FORMATS_WITH_DRIVER.has(format),
)

const COMMANDS = [
  'info X',
  'info --output=json X',
  'check X',
  'check -r all X',
  'map X',
  'resize X +1M',
  'resize --shrink X 512',
  'amend -o size=1M X',
  'commit X',
  'compare X disk.raw',
  'compare disk.raw X',
  'compare -f raw disk.raw X',
  'convert X out.raw',
  'convert -O qcow2 X out.raw',
  'convert disk.raw X out.raw',
  'convert -n -f raw small.raw X',
  'convert -n -f raw --target-image-opts disk.raw driver=copy-on-read,file.filename=X',
  'bench -c 1 X',
  'bench -c 1 -w X',
  'create -q -f qcow2 -b X out.raw',
  'create -q -f qcow2 -b X out.raw 1M',
]

describe.each(EACH)('%s', (format, _, bytes) => {
  it('is refused by name, with what to do, and stays as it is', async () => {
    writeFileSync('disk.raw', new Uint8Array(8192))
    writeFileSync('small.raw', new Uint8Array(0))
    for (const command of COMMANDS) {
      writeFileSync('X', bytes)
      const { err, status } = await runOurs(command.split(' '))
      expect([command, status > 0, err]).toEqual([command, true, expect.stringContaining(`'${format}'`)])
      expect(err).toContain('-f raw')
      expect([command, new Uint8Array(readFileSync('X'))]).toEqual([command, bytes])
      expect(() => readFileSync('out.raw')).toThrow('ENOENT')
    }
  })

  it('is refused below an overlay that names no format for it, and is not committed into', async () => {
    writeFileSync('X', bytes)
    writeFileSync('disk.raw', new Uint8Array(8192))
    await runOurs('create -q -u -f qcow2 -b X -F raw o.qcow2 1M'.split(' '))
    const overlay = readFileSync('o.qcow2')
    // Removes the format from the header: extension 0xe2792aca becomes an unknown one.
    overlay.writeUInt32BE(0x12345678, overlay.indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca])))
    writeFileSync('o.qcow2', overlay)
    for (const command of [
      'map o.qcow2',
      'commit o.qcow2',
      'convert o.qcow2 out.raw',
      'info --backing-chain o.qcow2',
    ]) {
      const { err, status } = await runOurs(command.split(' '))
      expect([command, status, err]).toEqual([command, 1, expect.stringContaining(`'${format}'`)])
    }
    expect(new Uint8Array(readFileSync('X'))).toEqual(bytes)
    expect((await runOurs(['info', 'o.qcow2'])).status).toBe(0)
  })

  it('is bytes where raw is named', async () => {
    writeFileSync('X', bytes)
    for (const command of [
      'info -f raw X',
      'convert -f raw X out.raw',
      'create -q -f qcow2 -b X -F raw o.qcow2',
      'map o.qcow2',
    ])
      expect(await runOurs(command.split(' '))).toMatchObject({ err: '', status: 0 })
    expect(new Uint8Array(readFileSync('out.raw')).subarray(0, bytes.length)).toEqual(bytes)
  })
})

it('an image of a known format is not written over by a conversion that names none', async () => {
  writeFileSync('disk.raw', new Uint8Array(4096))
  await runOurs('create -q -f qcow2 X 1M'.split(' '))
  const image = readFileSync('X')
  const { err, status } = await runOurs('convert -n disk.raw X'.split(' '))
  expect([err, status]).toEqual([expect.stringContaining("'X' is an image in the format qcow2"), 1])
  expect(readFileSync('X').equals(image)).toBe(true)
  expect((await runOurs('convert -n -O raw disk.raw X'.split(' '))).status).toBe(0)
})
