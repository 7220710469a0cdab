/** Commands that are asked to end: they stop between two pieces, print nothing more, and leave images in order. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { nodeServices, runOurs } from './testing/two-programs.ts'

let directory: string
const before = process.cwd()
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'interrupted-'))
  process.chdir(directory)
  for (const line of ['create -q -f qcow2 base 1M', 'create -q -f qcow2 -b base -F qcow2 top'])
    expect(await runOurs(line.split(' '))).toMatchObject({ status: 0, err: '' })
})
afterEach(() => {
  process.chdir(before)
  rmSync(directory, { recursive: true })
})

it.each([
  ['convert top out', ''],
  ['commit top', ''],
  ['commit -p top', '    (0.00/100%)\r\n'],
  ['amend -o compat=0.10 top', ''],
  ['amend -p -o compat=0.10 top', '    (0.00/100%)\r\n'],
  ['check top', ''],
  ['check -r all top', ''],
])('%s', async (line, out) => {
  const images = ['base', 'top'].map((name) => readFileSync(name))
  let listeners = 0
  const onInterrupt = (listener: () => void): (() => void) => {
    listeners++
    listener()
    return () => void listeners--
  }
  expect(await runOurs(line.split(' '), { ...nodeServices(), onInterrupt })).toEqual({
    out,
    err: '',
    status: 130,
  })
  expect(listeners).toBe(0)
  expect(['base', 'top'].map((name) => readFileSync(name))).toEqual(images)
})

it('create leaves no image, and no data file', async () => {
  const onInterrupt = (listener: () => void): (() => void) => {
    listener()
    return () => {}
  }
  const line = 'create -q -f qcow2 -o data_file=data new 1M'
  expect(await runOurs(line.split(' '), { ...nodeServices(), onInterrupt })).toEqual({
    out: '',
    err: '',
    status: 130,
  })
  expect(['new', 'data'].filter(existsSync)).toEqual([])
})
