/** The next version is written into one changelog, and all packages are released together. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { publicPackages, root } from './src/packages.ts'

interface Changeset {
  readonly summary: string
  readonly releases: readonly { readonly name: string; readonly type: string }[]
}

const { section, withSection } = (await import(
  new URL('../../scripts/next-version.mjs', import.meta.url).href
)) as {
  section(version: string, changesets: readonly Changeset[]): string
  withSection(changelog: string, text: string): string
}

const change = (type: string, summary: string): Changeset => ({
  summary,
  releases: [{ name: '@vmblock/raw', type }],
})

it('a version lists its changes, the largest first, each as one item', () => {
  const changes = [change('patch', 'A repair.'), change('minor', '**Breaking**: one line,\nand another.\n')]
  expect(section('0.3.0', changes)).toBe(
    '## 0.3.0\n\n- **Breaking**: one line,\n  and another.\n- A repair.\n',
  )
})

it('a version stands above those before it', () => {
  expect(withSection('# Changes\n\nText.\n\n## 0.2.0\n\n- It.\n', '## 0.3.0\n\n- New.\n')).toBe(
    '# Changes\n\nText.\n\n## 0.3.0\n\n- New.\n\n## 0.2.0\n\n- It.\n',
  )
  expect(() => withSection('# Changes\n', 'x')).toThrow('has no version')
})

it('the changelog has the version that the packages have, at its top', () => {
  const [first] = /^## \S+/m.exec(readFileSync(`${root}CHANGELOG.md`, 'utf8')) ?? []
  for (const { manifest } of publicPackages()) expect(first).toBe(`## ${manifest.version}`)
})
