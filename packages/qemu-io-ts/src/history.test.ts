import { expect, test } from 'vitest'
import { HISTORY_LINES, type HistoryFile, openHistory } from './history.ts'

/** A file in memory. */
function textFile(text: string): HistoryFile & { text: string } {
  return {
    text,
    read() {
      return this.text
    },
    append(more) {
      this.text += more
    },
    replace(whole) {
      this.text = whole
    },
  }
}

test('lines are kept at once, and offered to the next session, the newest first', () => {
  const file = textFile('')
  const history = openHistory(file)
  history.add('read 0 1')
  history.add('abort')
  expect(file.text).toBe('read 0 1\nabort\n')
  expect(openHistory(file).earlier).toEqual(['abort', 'read 0 1'])
})

test('empty lines, repetitions and what begins with a space are not kept', () => {
  const file = textFile('length\n')
  const history = openHistory(file)
  for (const line of ['', '  ', 'length', 'length ', ' secret', 'info ', 'info']) history.add(line)
  expect(file.text).toBe('length\ninfo\n')
})

test('the file stays short', () => {
  const lines = Array.from({ length: HISTORY_LINES + 500 }, (_, i) => `read ${i} 1`)
  const file = textFile(`${lines.join('\n')}\n`)
  expect(openHistory(file).earlier).toHaveLength(HISTORY_LINES)
  expect(file.text.split('\n')).toHaveLength(HISTORY_LINES + 1)
  expect(openHistory(file).earlier[0]).toBe(lines.at(-1))
})

test('a file that cannot be used is none', () => {
  const refuse = (): never => {
    throw new Error('EACCES')
  }
  const history = openHistory({ read: refuse, append: refuse, replace: refuse })
  expect(history.earlier).toEqual([])
  expect(() => history.add('length')).not.toThrow()
})
