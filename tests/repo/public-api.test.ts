/**
 * What packages publish is for users, and says what it is. A value that an entry exports is used by code outside its
 * package that is no test, or is named in the documentation; every symbol has a doc comment that says in which unit
 * numbers are, and which errors are thrown.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { undocumentedIn } from './src/doc-comments.ts'
import {
  filesOf,
  importersOf,
  isTestCode,
  isTesting,
  placeOf,
  publicExports,
  root,
} from './src/public-api.ts'

const exported = publicExports()
const forUsers = exported.filter(({ entry }) => !isTesting(entry))

const code = ['packages', 'bench', 'examples'].flatMap((folder) => filesOf(folder, /\.(ts|mjs|js)$/))

/** The words of all that is written for users. */
const documented = new Set(
  [...['docs', 'packages'].flatMap((folder) => filesOf(folder, /\.md$/)), 'README.md', 'SECURITY.md'].flatMap(
    (path) => readFileSync(join(root, path), 'utf8').match(/\w+/g) ?? [],
  ),
)

test('there are entries and exports to look at', () => {
  expect(forUsers.length).toBeGreaterThan(200)
  expect(documented.has('openNode')).toBe(true)
})

test('the root of block-core exports at most 40 values', () => {
  const values = exported.filter(({ entry, isValue }) => isValue && entry === '@vmblock/block-core')
  expect(values.length, values.map(({ name }) => name).join(' ')).toBeLessThanOrEqual(40)
})

test('every exported value is used outside its package by code that is no test, or is documented', () => {
  const importers = importersOf(code.filter((path) => !isTestCode(path)))
  const idle = forUsers.filter(
    ({ entry, name, isValue }) => isValue && !documented.has(name) && !importers.has(`${entry} ${name}`),
  )
  expect(idle.map(({ entry, name }) => `${name} of ${entry}`)).toEqual([])
})

test('every exported symbol says what it is, in which unit its numbers are, and what it throws', () => {
  const declarations = new Set(forUsers.flatMap(({ declarations }) => declarations))
  const lines = [...declarations]
    .filter((declaration) => !declaration.getSourceFile().fileName.includes('node_modules'))
    .flatMap((declaration) => undocumentedIn(declaration, placeOf))
  expect([...new Set(lines)]).toEqual([])
})

test.each([
  ['export function read(offset: number): void {}', "'read' has no doc comment"],
  ['/** Reads. */ export function read(offset: number): void {}', "'read' does not say the unit of 'offset'"],
  ['/** Reads from a byte on. */ export const read = (offset: number): number => offset', undefined],
  ['/** Fails. */ export function fail(): never { throw new Error() }', "'fail' does not say what it throws"],
  ['/** Makes one. */ export function make() { return () => { throw new Error() } }', undefined],
  ['/** A range. */ export interface Range { start: number }', "'Range.start' has no doc comment"],
  ['/** A range, in bytes. */ export interface Range { start: number }', undefined],
  ['/** A range. */ export class Range { private start = 0; #end: number = 0 }', undefined],
  [
    '/** A range. */ export interface Range { grow(bytes: number, size: number): void }',
    "'Range.grow' does not say the unit of 'size'",
  ],
  [
    '/** A range. */ export interface Range {\n/** Grows to `size` bytes. */\ngrow(size: number): void }',
    undefined,
  ],
])('of %j it says: %s', (text, expected) => {
  const file = ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest, true)
  const [statement] = file.statements
  const declaration = ts.isVariableStatement(statement!)
    ? statement.declarationList.declarations[0]
    : statement
  const [line] = undocumentedIn(declaration as ts.Declaration, () => 'x')
  expect(line).toBe(expected === undefined ? undefined : `x ${expected}`)
})
