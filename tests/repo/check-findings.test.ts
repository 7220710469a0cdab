/** The page of findings lists exactly the words that there are, with what follows from each; and its example works. */
import { readFileSync } from 'node:fs'
import * as blockCore from '@vmblock/block-core'
import { type BlockNode, type CheckFinding, memory } from '@vmblock/block-core'
import * as check from '@vmblock/block-core/check'
import { openTestNode } from '@vmblock/block-core/testing'
import { expect, test, vi } from 'vitest'
import { FINDINGS } from '../../packages/block-core/src/contract/findings.ts'
import { examplesOf, problemsOf, runExample } from './src/guide.ts'

const PAGE = 'docs/check-findings.md'
const text = readFileSync(new URL(`../../${PAGE}`, import.meta.url), 'utf8')
const [SOURCE = ''] = examplesOf(PAGE)

test('the page lists each word once, its kind, and whether data is at risk', () => {
  const rows = [...text.matchAll(/^\| `([a-z-]+)` \| (\w+) \| (yes|no) \| .+ \| .+ \|$/gm)]
  expect(rows.map(([, word, kind, risk]) => [word, { kind, dataAtRisk: risk === 'yes' }])).toEqual(
    Object.entries(FINDINGS),
  )
})

test('the page explains each field of a finding', () => {
  const fields = [...text.matchAll(/^\| ((?:`\w+`(?:, )?)+) \| [^|]+ \|$/gm)]
  const names = fields.flatMap(([, cell]) => [...cell!.matchAll(/\w+/g)].map(([name]) => name))
  const all: Readonly<Record<keyof CheckFinding, true>> = {
    what: true,
    kind: true,
    offset: true,
    bytes: true,
    owner: true,
    repaired: true,
    dataAtRisk: true,
    message: true,
    silent: true,
  }
  expect(names).toEqual(Object.keys(all))
})

test('the example returns what endangers data and was not repaired', async () => {
  const { repairAll } = runExample(SOURCE, {
    '@vmblock/block-core': blockCore,
    '@vmblock/block-core/check': check,
  }) as { repairAll(node: BlockNode): Promise<readonly CheckFinding[]> }
  const low = check.checkFinding('refcount-too-low', 'low', { offset: 0 })
  const left = check.checkFinding('reserved-bits', 'left')
  const node = await openTestNode(memory)
  vi.spyOn(node, 'check').mockImplementation(async ({ report } = {}) => {
    const harmless = check.checkFinding('incomplete-snapshot', 'harmless')
    for (const finding of [low, left, harmless, { ...low, repaired: true }]) report?.(finding)
    return { corruptions: 2, leaks: 0, corruptionsFixed: 1, leaksFixed: 0, checkErrors: 0 }
  })
  expect(await repairAll(node)).toEqual([left])
})

test('the example compiles under the rules of the repository', { timeout: 120_000 }, () => {
  expect(problemsOf({ 'docs/check-findings.ts': SOURCE })).toEqual([])
})
