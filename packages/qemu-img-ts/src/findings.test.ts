/** `check --findings` adds facts to QEMU's JSON, and changes nothing else. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runOurs } from './testing/two-programs.ts'

const CLUSTER = 65536

let folder: string
let image: string
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'findings-'))
  image = path.join(folder, 'disk.qcow2')
  await runOurs(['create', '-q', '-f', 'qcow2', image, '1M'])
  // An L2 table with one entry, whose cluster is beyond the end of the file.
  poke(3 * CLUSTER, [0x80, 0, 0, 0, 0, 4, 0, 0])
  poke(4 * CLUSTER, [0x80, 0, 1, 0, 0, 0, 0, 0])
  // Refcounts of the table, and of a cluster that nothing uses.
  poke(2 * CLUSTER + 4 * 2, [0, 1, 0, 1])
  fs.truncateSync(image, 6 * CLUSTER)
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

function poke(offset: number, bytes: readonly number[]): void {
  const file = fs.openSync(image, 'r+')
  fs.writeSync(file, Uint8Array.from(bytes), 0, bytes.length, offset)
  fs.closeSync(file)
}

const FAR = 2 ** 40
const owner = { structure: 'l2-table', offset: 4 * CLUSTER, index: 0, 'guest-offset': 0 }
const outside = {
  what: 'reference-outside-file',
  kind: 'corruption',
  offset: FAR,
  bytes: CLUSTER,
  owner,
  repaired: false,
  'data-at-risk': true,
  message:
    'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x10000000000 size 0x10000',
}
const leak = {
  what: 'leaked-cluster',
  kind: 'leak',
  offset: 5 * CLUSTER,
  bytes: CLUSTER,
  repaired: false,
  'data-at-risk': false,
  message: 'Leaked cluster 5 refcount=1 reference=0',
}
const flag = {
  what: 'copied-flag-set',
  kind: 'corruption',
  offset: FAR,
  bytes: CLUSTER,
  owner,
  repaired: false,
  'data-at-risk': true,
  message: 'ERROR OFLAG_COPIED data cluster: l2_entry=8000010000000000 refcount=0',
}

describe('check --findings', () => {
  it('adds them to the JSON, while the lines are printed as without it', async () => {
    const plain = await runOurs(['check', '--output=json', image])
    const { out, ...rest } = await runOurs(['check', '--output=json', '--findings', image])
    expect(rest).toEqual({ err: plain.err, status: plain.status })
    expect(rest.err).toBe(`${[outside, leak, flag].map(({ message }) => `${message}\n`).join('')}`)
    const { findings, ...others } = JSON.parse(out)
    expect(others).toEqual(JSON.parse(plain.out))
    expect(findings).toEqual([outside, leak, flag])
  })

  it('says what was repaired, and what the check after it found', async () => {
    const { out } = await runOurs(['check', '-r', 'leaks', '--output=json', '--findings', image])
    expect(JSON.parse(out).findings).toEqual([
      outside,
      { ...leak, repaired: true, message: 'Repairing cluster 5 refcount=1 reference=0' },
      flag,
    ])
  })

  it('is an empty list if there are none', async () => {
    const sound = path.join(folder, 'sound.qcow2')
    await runOurs(['create', '-q', '-f', 'qcow2', sound, '1M'])
    const { out } = await runOurs(['check', '--output=json', '--findings', sound])
    expect(JSON.parse(out).findings).toEqual([])
  })

  it.each([[], ['--output=human']])('is refused where nothing is JSON: %j', async (...words) => {
    expect(await runOurs(['check', ...words, '--findings', image])).toEqual({
      out: '',
      err: 'qemu-img: --findings can only be used with --output=json: otherwise each is printed as a line\n',
      status: 1,
    })
  })

  it('is explained by the help', async () => {
    const { out } = await runOurs(['check', '--help'])
    expect(out).toMatch(/^ +--findings +add to the JSON/m)
  })
})

describe('findings of QED', () => {
  it('are in the JSON, and print nothing, as in QEMU', async () => {
    const qed = path.join(folder, 'disk.qed')
    await runOurs(['create', '-q', '-f', 'qed', qed, '1M'])
    fs.truncateSync(qed, fs.statSync(qed).size + CLUSTER)
    const { out, err } = await runOurs(['check', '--output=json', '--findings', qed])
    expect(err).toBe('')
    expect(JSON.parse(out).findings).toMatchObject([{ what: 'leaked-cluster', bytes: CLUSTER }])
  })
})
