import { expect, test } from 'vitest'
import { terminalBar } from './terminal-bar.ts'

/** A terminal that keeps what it was sent. */
function fakeTerminal() {
  const sent: string[] = []
  return { sent, columns: 80, write: (text: string) => void sent.push(text) }
}

/** When the library is loaded, in the same turn as the bar's own wait for it. */
const loaded = async (): Promise<void> => {
  await import('cli-progress')
  await new Promise((resolve) => setImmediate(resolve))
}

test('the bar has percentage, rate and time left, fits 80 columns, and stays if it is kept', async () => {
  const terminal = fakeTerminal()
  const bar = terminalBar(terminal)
  bar.show(0.25, 5 * 2 ** 20)
  await loaded()
  bar.show(1, 20 * 2 ** 20)
  bar.end(true)
  const text = terminal.sent.join('')
  expect(text).toContain(`[${'='.repeat(10)}${' '.repeat(30)}] 25% | 5 MiB/s | `)
  expect(text).toContain(`[${'='.repeat(40)}] 100% | 20 MiB/s | 0s left`)
  expect(text.endsWith('\n')).toBe(true)
  // No colour, and nothing that another line could restore.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the codes of terminals are looked for
  expect(text).not.toMatch(/\u001b(\[[0-9;]*m|7|8)/)
  const [longest] = terminal.sent.map((line) => line.length).sort((a, b) => b - a)
  expect(longest).toBeLessThan(80)
})

test('a bar that is not kept, or was never due, leaves nothing', async () => {
  const terminal = fakeTerminal()
  const bar = terminalBar(terminal)
  await loaded()
  bar.end(false)
  expect(terminal.sent.at(-1)).toBe('\r\u001b[K')
  const early = fakeTerminal()
  terminalBar(early).end(true)
  await loaded()
  expect(early.sent).toEqual([])
})
