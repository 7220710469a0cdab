/** No command empties or writes a file that it also reads, under any name, with or without locks. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nodeServices, runOurs } from '../testing/two-programs.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'vmblock-same-'))
const at = (name: string): string => path.join(directory, name)
const run = (words: string) =>
  runOurs(
    words.split(' ').map((word) => word.replaceAll('@', `${directory}/`)),
    nodeServices(),
  )
const made = async (words: string): Promise<void> => {
  const { err, status } = await run(words)
  if (status !== 0) throw new Error(`${words}: ${err}`)
}
const FILES = ['base', 'mid', 'top', 'data', 'image', 'other']
const sums = (): string[] =>
  FILES.map(
    (name) =>
      `${name} ${createHash('sha1')
        .update(fs.readFileSync(at(name)))
        .digest('hex')}`,
  )

beforeAll(async () => {
  fs.writeFileSync(
    at('base'),
    new Uint8Array(2 ** 20).map((_, index) => index % 251),
  )
  await made('create -q -f qcow2 -b @base -F raw @mid')
  await made('create -q -f qcow2 -b @mid -F qcow2 @top')
  await made('create -q -f qcow2 -o data_file=@data @image 1M')
  await made('create -q -f raw @other 1M')
  for (const name of FILES) {
    fs.symlinkSync(at(name), at(`${name}.symbolic`))
    fs.linkSync(at(name), at(`${name}.hard`))
  }
  fs.mkdirSync(at('sub'))
})
afterAll(() => fs.rmSync(directory, { recursive: true }))

/** Names of a file of the directory. */
const NAMES = (name: string): string[] => [
  `@${name}`,
  `@./${name}`,
  `@sub/../${name}`,
  `file:@${name}`,
  `@${name}.symbolic`,
  `@${name}.hard`,
]

/** Command lines, with TARGET in place of a name of `target`. */
const LINES: readonly (readonly [target: string, line: string])[] = [
  ['base', 'create -q -f qcow2 -b @base -F raw TARGET'],
  ['base', 'create -q -f qcow2 -b @mid -F qcow2 TARGET'],
  ['base', 'create -q -f qcow2 -b @top -F qcow2 TARGET 4M'],
  ['mid', 'create -q -f qed -b @top -F qcow2 TARGET'],
  ['base', 'create -q -u -f qcow2 -b @base -F raw TARGET 1M'],
  ['base', 'create -q -u -f qcow2 -b @top -F qcow2 TARGET 1M'],
  ['base', 'create -q -f qcow2 -o backing_file=@top,backing_fmt=qcow2 TARGET'],
  [
    'base',
    'create -q -f qcow2 -b json:{"driver":"raw","file":{"driver":"file","filename":"@base"}} -F raw TARGET',
  ],
  ['data', 'create -q -f qcow2 -b @image -F qcow2 TARGET'],
  ['base', 'create -q -f qcow2 -b @top -F qcow2 -o data_file=TARGET @new'],
  ['image', 'create -q -f qcow2 -o data_file=TARGET @image 1M'],
  ['base', 'convert -O raw @base TARGET'],
  ['base', 'convert -U -O raw @base TARGET'],
  ['base', 'convert -U -O qcow2 @top TARGET'],
  ['mid', 'convert -U -O qcow2 @top TARGET'],
  ['data', 'convert -U -O raw @image TARGET'],
  ['base', 'convert -U -O raw @other @base TARGET'],
  ['other', 'convert -O qcow2 -B @other -F raw @top TARGET'],
  ['base', 'convert -U -O qcow2 -B @mid -F qcow2 @other TARGET'],
  ['base', 'convert -U -O qcow2 -o data_file=TARGET @top @new'],
  ['base', 'convert -U -n -O raw @top TARGET'],
  ['base', 'convert -n -O raw @top TARGET'],
  ['data', 'convert -U -n -O raw @image TARGET'],
]

describe('a target that is read from', () => {
  it.each(LINES)('%s: %s', async (target, line) => {
    const before = sums()
    for (const name of NAMES(target)) {
      const { err, out, status } = await run(line.replace('TARGET', name))
      expect({ name, status, out }).toEqual({ name, status: 1, out: '' })
      expect(err, name).toMatch(/^qemu-img: .*\n(Is another process using the image .*\n)?$/)
      expect(sums()).toEqual(before)
      expect(fs.existsSync(at('new')), name).toBe(false)
    }
  })

  it('is told from one that only has the name of another, and from one that is its own file', async () => {
    fs.copyFileSync(at('base'), at('copy'))
    for (const line of [
      'create -q -f qcow2 -b @top -F qcow2 @copy',
      'create -q -f qcow2 -o data_file=@copy @new 1M',
      'convert -O qcow2 @top @copy',
      'convert -n -O qcow2 @top @copy',
      'compare @top @top',
    ])
      expect(await run(line)).toMatchObject({ status: 0, err: '' })
    fs.rmSync(at('new'))
  })

  it('is refused without locks, where both are named by options', async () => {
    const before = sums()
    const raw = (name: string): string => `driver=raw,file.filename=${name},file.locking=off`
    for (const name of NAMES('base').filter((called) => !called.startsWith('file:'))) {
      const { status } = await run(`convert -n --image-opts --target-image-opts ${raw('@base')} ${raw(name)}`)
      expect({ name, status }).toEqual({ name, status: 1 })
      expect(sums()).toEqual(before)
    }
  })

  it('is refused where it is not there yet, and is then not left behind', async () => {
    const { status } = await run('create -q -f qcow2 -o data_file=@./new @new 1M')
    expect(status).toBe(1)
    expect(fs.existsSync(at('new'))).toBe(false)
  })

  it('is not committed into through another name, and with locks off', async () => {
    const before = sums()
    const unlocked = (role: string, name: string): string =>
      `${role}driver=file,${role}filename=${name},${role}locking=off`
    // An image's own file as its backing file is refused by the open; its own data file, by the command.
    const itself = ['driver=qcow2', unlocked('file.', '@top'), 'backing.driver=raw']
    const data = [
      'driver=qcow2',
      unlocked('file.', '@image'),
      unlocked('data-file.', '@data'),
      'backing.driver=raw',
    ]
    for (const name of NAMES('top').filter((called) => !called.startsWith('file:'))) {
      const { err, status } = await run(`commit --image-opts ${[...itself, unlocked('backing.file.', name)]}`)
      expect({ name, status }).toEqual({ name, status: 1 })
      expect(err).toContain('creates an infinite loop')
    }
    for (const name of NAMES('data').filter((called) => !called.startsWith('file:'))) {
      const { err, status } = await run(`commit --image-opts ${[...data, unlocked('backing.file.', name)]}`)
      expect({ name, status }).toEqual({ name, status: 1 })
      expect(err).toContain('of the chain is the same file')
    }
    expect(sums()).toEqual(before)
  })
})
