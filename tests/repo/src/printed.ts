/** What the examples of the documentation print, and what their pages say that they print. */

interface Line {
  readonly block: number
  readonly expected: string | undefined
  readonly text: string
}

const lines: Line[] = []

interface NodeUtilities {
  getBuiltinModule?(name: 'node:util'): { inspect(value: unknown): string }
}

function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  const { process } = globalThis as { process?: NodeUtilities }
  return process?.getBuiltinModule?.('node:util').inspect(value) ?? JSON.stringify(value)
}

/** Stands for `console.log` in an example. */
export const print = (block: number, expected: string | undefined, ...values: readonly unknown[]): void =>
  void lines.push({ block, expected, text: values.map(textOf).join(' ') })

/** What was printed since the last call, in order. */
export const takePrinted = (): readonly Line[] => lines.splice(0)

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Whether a line is what a page says it is; there, `...` stands for anything. */
const fits = (text: string, expected: string): boolean =>
  new RegExp(`^${expected.split('...').map(escaped).join('.*')}$`).test(text)

/** What differs from what the page says: each a line. */
export function differences(
  printed: readonly Line[],
  codes: readonly string[],
  output: readonly (string | null)[],
): readonly string[] {
  const wrong = printed.flatMap(({ expected, text }) =>
    expected !== undefined && !fits(text, expected) ? [`'${text}' instead of '${expected}'`] : [],
  )
  const silent = codes.flatMap((code) =>
    [...code.matchAll(/^\s*console\.log\(.*\) \/\/ (.+)$/gm)]
      .map(([, expected]) => expected!.trim())
      .filter((expected) => !printed.some((line) => line.expected === expected))
      .map((expected) => `nothing printed '${expected}'`),
  )
  const blocks = output.flatMap((expected, index) => {
    if (expected === null) return []
    const text = printed.flatMap((line) =>
      line.block === index && line.expected === undefined ? [line.text] : [],
    )
    const wanted = expected.trimEnd().split('\n')
    const same = text.length === wanted.length && wanted.every((line, at) => fits(text[at]!, line))
    return same ? [] : [`printed:\n${text.join('\n')}\ninstead of:\n${expected}`]
  })
  return [...wrong, ...silent, ...blocks]
}
