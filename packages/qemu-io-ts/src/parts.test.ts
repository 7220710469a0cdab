import { describe, expect, it } from 'vitest'
import { usageText } from './program-options.ts'
import { cutLines } from './session/lines.ts'

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

describe('the usage text', () => {
  it('begins as scripts expect, and lists the formats', () => {
    const text = usageText(['raw', 'qcow2'])
    expect(text).toMatch(/^Usage: qemu-io \[OPTIONS\]\.\.\. \[-c STRING\]\.\.\. \[file\]\n/)
    expect(text).toMatch(/\nSupported formats: raw qcow2\n$/)
    expect(text).toContain('  -c, --cmd STRING')
  })
})
