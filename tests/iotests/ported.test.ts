import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { UPSTREAM } from './src/denominator.ts'

const STATES = ['ported', 'partly', 'to do', 'not applicable', 'ours'] as const
type State = (typeof STATES)[number]

interface Line {
  readonly name: string
  readonly state: State
  readonly words: string
}

/** The list of PORTED.md. */
function readList(): Line[] {
  const text = readFileSync(new URL('./PORTED.md', import.meta.url), 'utf8')
  return text
    .split('\n')
    .filter((line) => line.startsWith('- '))
    .map((line) => {
      const match = /^- ([\w-]+) — ([a-z ]+): (.+)$/.exec(line)
      const state = STATES.find((candidate) => candidate === match?.[2])
      if (!match || !state) throw new Error(`PORTED.md has a line of another form: ${line}`)
      return { name: match[1] ?? '', state, words: match[3] ?? '' }
    })
}

const list = readList()
const cases = readdirSync(new URL('./cases/', import.meta.url))
  .filter((file) => file.endsWith('.test.ts'))
  .map((file) => file.slice(0, -'.test.ts'.length))
const isCase = ({ state }: Line): boolean => state === 'ported' || state === 'partly' || state === 'ours'

describe('PORTED.md', () => {
  it('accounts for every upstream test once', () => {
    const upstream = list.filter(({ state }) => state !== 'ours').map(({ name }) => name)
    expect(upstream.toSorted()).toEqual(UPSTREAM.toSorted())
  })

  it('lists every case that exists, and no other', () => {
    const listed = list.filter(isCase).map(({ name }) => name)
    expect(listed.toSorted()).toEqual(cases.toSorted())
  })

  it('says what is missing of a partial port', () => {
    for (const { name, state, words } of list) {
      if (state === 'partly') expect(words, name).toMatch(/; missing: ./)
    }
  })
})

describe('a case', () => {
  it.each(cases)('%s declares the number of its file', (name) => {
    const text = readFileSync(new URL(`./cases/${name}.test.ts`, import.meta.url), 'utf8')
    expect(/iotest\(\s*'([\w-]+)'/.exec(text)?.[1]).toBe(name)
  })
})
