/** docs/errors.md lists every code that an error can have, and no other. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ROOT, textOf } from '../support/doc-blocks.ts'

test('the page of errors has each code once in its tables', () => {
  const source = readFileSync(`${ROOT}packages/block-core/src/base/errors.ts`, 'utf8')
  const unions = [...source.matchAll(/^export type (?:BlockErrorCode|HostErrorCode) =\n((?:[ ]{2}.*\n)+)/gm)]
  const codes = unions.flatMap(([, lines]) =>
    [...lines!.matchAll(/'(E[A-Z0-9]+)'/g)].map(([, code]) => code!),
  )
  expect(unions).toHaveLength(2)
  expect(codes.length).toBeGreaterThan(100)
  const [, main = '', host = ''] = textOf('docs/errors.md').split(/^## .*$/m)
  const first = main.split('\n').map((line) => /^\| ((?:`E\w+`(?:, )?)+) \|/.exec(line)?.[1] ?? '')
  const listed = [...first.join(' ').matchAll(/`(E\w+)`/g), ...host.matchAll(/`(E[A-Z0-9]+)` ?(?=[`|\s])/g)]
    .map(([, code]) => code!)
    .filter((code, index, all) => code !== 'EIO' || all.indexOf(code) === index)
  expect([...listed].sort()).toEqual([...codes].sort())
})
