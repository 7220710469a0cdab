import { describe, expect, it } from 'vitest'
import { formatSpecificText, qdictOrder } from './format-specific.ts'
import { cutLines } from './lines.ts'
import { bufferedOutput } from './output.ts'
import { usageText } from './program-options.ts'

async function linesOf(...chunks: string[]): Promise<string[]> {
  const encoder = new TextEncoder()
  const lines: string[] = []
  const input = (async function* () {
    for (const chunk of chunks) yield encoder.encode(chunk)
  })()
  for await (const line of cutLines(input)) lines.push(line)
  return lines
}

describe('lines of input', () => {
  it('are cut at newlines, wherever the chunks end', async () => {
    expect(await linesOf('a\nb', 'c\n\nd')).toEqual(['a', 'bc', '', 'd'])
  })

  it('end with the input, with or without a newline', async () => {
    expect(await linesOf('a\n')).toEqual(['a'])
    expect(await linesOf('a')).toEqual(['a'])
    expect(await linesOf()).toEqual([])
  })

  it('of more than 1023 bytes are cut into several', async () => {
    expect((await linesOf(`${'x'.repeat(2050)}\ny\n`)).map((line) => line.length)).toEqual([1023, 1023, 4, 1])
  })
})

describe('output', () => {
  function pair(lines: boolean) {
    const written: string[] = []
    return {
      written,
      output: bufferedOutput(
        (text) => written.push(text),
        (text) => written.push(text),
        lines,
      ),
    }
  }

  it('to a pipe is held back while errors go out at once, as with C', () => {
    const { written, output } = pair(false)
    output.print('a\n')
    output.error('e\n')
    output.flush()
    expect(written).toEqual(['e\n', 'a\n'])
  })

  it('goes out in whole buffers', () => {
    const { written, output } = pair(false)
    output.print('x'.repeat(5000))
    output.flush()
    expect(written.map((text) => text.length)).toEqual([4096, 904])
  })

  it('to a terminal goes out with each line', () => {
    const { written, output } = pair(true)
    output.print('a\n')
    output.print('prompt> ')
    expect(written).toEqual(['a\n'])
  })
})

describe('facts of a format', () => {
  it("stand in the order of QEMU's hash table", () => {
    const keys = ['compat', 'compression-type', 'lazy-refcounts', 'refcount-bits', 'corrupt', 'extended-l2']
    expect(qdictOrder([...keys].sort())).toEqual(keys)
  })

  it('are nested by four spaces, with blanks for dashes', () => {
    expect(formatSpecificText({ 'lazy-refcounts': false, bitmaps: [{ name: 'b' }] })).toBe(
      '    lazy refcounts: false\n    bitmaps:\n        [0]:\n            name: b\n',
    )
  })
})

describe('the usage text', () => {
  it('begins as scripts expect, and lists the formats', () => {
    const text = usageText(['raw', 'qcow2'])
    expect(text).toMatch(/^Usage: qemu-io \[OPTIONS\]\.\.\. \[-c STRING\]\.\.\. \[file\]\n/)
    expect(text).toMatch(/\nSupported formats: raw qcow2\n$/)
    expect(text).toContain('  -c, --cmd STRING')
  })
})
