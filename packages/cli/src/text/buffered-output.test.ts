import { describe, expect, it } from 'vitest'
import { bufferedOutput } from './buffered-output.ts'

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
    output.print('a\nb')
    output.print('c\nprompt> ')
    expect(written).toEqual(['a\n', 'bc\n'])
  })
})
