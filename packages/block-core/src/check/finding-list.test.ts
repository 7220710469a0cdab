import { describe, expect, it } from 'vitest'
import type { FindingOwner } from '../contract/findings.ts'
import { checkFinding, FindingList } from './index.ts'

const leak = (offset: number, repaired = false) =>
  checkFinding('leaked-cluster', `cluster at ${offset}`, { offset, bytes: 512, repaired })

const listOf = (findings: readonly ReturnType<typeof leak>[], limit?: number): FindingList => {
  const list = new FindingList(limit)
  for (const finding of findings) list.add(finding)
  return list
}

describe('a finding', () => {
  it('has what follows from its word', () => {
    expect(leak(512)).toEqual({
      what: 'leaked-cluster',
      kind: 'leak',
      dataAtRisk: false,
      offset: 512,
      bytes: 512,
      repaired: false,
      message: 'cluster at 512',
    })
    expect(checkFinding('reserved-bits', 'x')).toEqual({
      what: 'reserved-bits',
      kind: 'corruption',
      dataAtRisk: true,
      repaired: false,
      message: 'x',
    })
  })
})

describe('a list of findings', () => {
  it('keeps each as it was told last, in the order in which they were first told', () => {
    const list = listOf([leak(0), leak(512), leak(0, true), leak(512, true), leak(512)])
    expect(list.findings).toEqual([leak(0, true), leak(512)])
    expect(list.omitted).toBe(0)
  })

  it('takes findings of other words, offsets and owners for others', () => {
    const owner: FindingOwner = { structure: 'l2-table', offset: 0, index: 1 }
    const places = [
      {},
      { offset: 0 },
      { offset: 0, owner },
      { offset: 0, owner: { ...owner, index: 2 } },
      { offset: 0, owner: { ...owner, offset: 512 } },
      { offset: 0, owner: { structure: 'l1-table', offset: 0, index: 1 } },
    ] as const
    const findings = places.flatMap((place) => [
      checkFinding('reserved-bits', 'a', place),
      checkFinding('unaligned-table', 'b', place),
    ])
    expect(listOf([...findings, ...findings]).findings).toEqual(findings)
  })

  it('takes all for repaired when refcounts are rebuilt, except what is told again', () => {
    const rebuilt = checkFinding('refcounts-rebuilt', 'rebuilt', { repaired: true })
    const low = checkFinding('refcount-too-low', 'low', { offset: 0 })
    const list = listOf([low, leak(512), rebuilt, leak(512), leak(1024)])
    expect(list.findings).toEqual([{ ...low, repaired: true }, leak(512), rebuilt, leak(1024)])
  })

  it('keeps no more than its limit, and counts what it omits', () => {
    const list = listOf([leak(0), leak(512), leak(1024), leak(0, true), leak(1024)], 2)
    expect(list.findings).toEqual([leak(0, true), leak(512)])
    expect(list.omitted).toBe(2)
    const many = Array.from({ length: 10_001 }, (_, index) => leak(index * 512))
    expect(listOf(many).omitted).toBe(1)
  })
})
