import { expect, test } from 'vitest'
import { COMMANDS } from '../commands/index.ts'
import { type Completable, completeLine } from './complete.ts'

const FILES: Readonly<Record<string, readonly string[]>> = {
  '': ['disk.qcow2', 'disks/', '.hidden', 'with space'],
  'disks/': ['a.raw', 'b.raw'],
}

const completable: Completable = {
  commands: COMMANDS,
  listDirectory: (path) =>
    (FILES[path] ?? []).map((name) => ({ name: name.replace('/', ''), isDirectory: name.endsWith('/') })),
}

const candidates = (line: string): readonly string[] => completeLine(line, completable).candidates

test('the first word is a command; its other names are offered to those who begin to type them', () => {
  expect(candidates('le')).toEqual(['length '])
  expect(candidates('re')).toEqual(['read ', 'readv ', 'reopen ', 'remove_break ', 'resume '])
  expect(candidates('  le')).toEqual(['length '])
  expect(candidates('')).toHaveLength(COMMANDS.length)
  expect(candidates('ex')).toEqual(['exit '])
  expect(candidates('nothing')).toEqual([])
})

test('help is followed by one topic', () => {
  expect(candidates('help writ')).toEqual(['write ', 'writev '])
  expect(candidates('? le')).toEqual(['length '])
  expect(candidates('help read le')).toEqual([])
})

test('options are completed by the table of the command, by any of its names', () => {
  expect(candidates('discard -')).toEqual(['-C ', '-q '])
  expect(candidates('d -q')).toEqual(['-q '])
  expect(candidates('discard -qC')).toEqual(['-qC '])
  expect(candidates('length -')).toEqual([])
})

test('a value is completed where the option has a list of them', () => {
  expect(candidates('truncate -m ')).toEqual(['off ', 'metadata ', 'falloc ', 'full '])
  expect(candidates('open -rt no')).toEqual(['none '])
  expect(candidates('open -tnone dis')).toEqual(['disk.qcow2 ', 'disks/'])
  expect(candidates('write -P ')).toEqual([])
})

test('files are completed where they are expected, folder by folder', () => {
  expect(candidates('open dis')).toEqual(['disk.qcow2 ', 'disks/'])
  expect(candidates('open disks/')).toEqual(['disks/a.raw ', 'disks/b.raw '])
  expect(candidates('open -r .')).toEqual(['.hidden '])
  expect(candidates('open wi')).toEqual([])
  expect(candidates('write -s disk')).toEqual(['disk.qcow2 ', 'disks/'])
  expect(candidates('write disk')).toEqual([])
})

test('the typed word is what is replaced', () => {
  expect(completeLine('open disks/a', completable).typed).toBe('disks/a')
  expect(completeLine('le', completable).typed).toBe('le')
})
