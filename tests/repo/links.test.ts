/** The check of links between pages finds those that lead nowhere. */
import { afterAll, describe, expect, it } from 'vitest'
import { Copy } from './src/copy.ts'

describe('check-links', async () => {
  const { deadLinks } = (await import(new URL('../../scripts/check-links.mjs', import.meta.url).href)) as {
    deadLinks(path: string, text: string): string[]
  }
  const pages = new Copy([])
  afterAll(() => pages.remove())
  pages.plant('docs/other.md', '# A heading: `code` & more\n\n## Twice\n\n## Twice\n\n<a id="mark"></a>\n')
  const dead = (text: string) =>
    deadLinks(pages.at('docs/page.md'), text).map((line) => line.replace(/^.*?: /, ''))

  it('names links to files and headings that are not there', () => {
    expect(
      dead(
        '# Here\n\n[a](gone.md) ![b](gone.png) [c](other.md#gone) [d](#gone) [e][ref] <img src="gone.svg">\n\n[ref]: gone/\n',
      ),
    ).toEqual([
      "'gone.md' leads to no file",
      "'gone.png' leads to no file",
      "'other.md#gone' leads to no heading",
      "'#gone' leads to no heading",
      "'gone/' leads to no file",
      "'gone.svg' leads to no file",
    ])
  })

  it('follows what is there, and neither the web nor code', () => {
    expect(
      dead(
        '# Here\n\n[a](other.md#a-heading-code--more) [b](other.md#twice-1) [c](other.md#mark) [d](#here) [e](../docs)\n\n`[x](gone)`\n\n[w](https://example.org/#x)\n',
      ),
    ).toEqual([])
  })
})
