/** Ctrl-C at a prompt: it ends the command, not the program. */
import { expect, test } from 'vitest'
import { type CommandInput, main } from '../main.ts'
import { testServices } from '../testing.ts'

/** Runs lines typed at a terminal, in which a line `^C` interrupts the command before it. */
async function session(lines: readonly string[], image: readonly string[] = []) {
  const printed: string[] = []
  const print = (text: string): void => void printed.push(text)
  const output = { print, error: print, flush() {} }
  const rest = [...lines]
  const input: CommandInput = {
    nextLine: async () => rest.shift(),
    onInterrupt(listener) {
      if (rest[0] === '^C') {
        rest.shift()
        setImmediate(listener)
      }
      return () => {}
    },
  }
  const status = await main(image, { output, input, isWatched: true }, testServices())
  return { text: printed.join('').replaceAll(/.*ops.*\n/g, ''), status }
}

const BLKDEBUG = ['--image-opts', 'driver=blkdebug,image.driver=memory,image.size=1M']

test('a command that waits ends, and the next one runs', async () => {
  const { text, status } = await session(['sleep 100000', '^C', 'length'], BLKDEBUG)
  expect(text).toBe('Interrupted\n1 MiB\n')
  expect(status).toBe(1)
})

test('waiting for a breakpoint, or for requests that one holds, ends', async () => {
  const lines = ['break pwritev A', 'wait_break B', '^C', 'aio_write 0 512', 'aio_flush', '^C', 'resume A']
  const { text } = await session(lines, BLKDEBUG)
  expect(text).toBe(
    "Interrupted\nblkdebug: Suspended request 'A'\nInterrupted\nblkdebug: Resuming request 'A'\n" +
      'wrote 512/512 bytes at offset 0\n',
  )
})

test('a request that was interrupted goes on, and is waited for at the end', async () => {
  const lines = ['break pwritev A', 'write -P 7 0 512', '^C', 'resume A', 'read -P 7 0 512']
  const { text } = await session(lines, BLKDEBUG)
  expect(text).toBe(
    "blkdebug: Suspended request 'A'\nInterrupted\nblkdebug: Resuming request 'A'\n" +
      'read 512/512 bytes at offset 0\n',
  )
})
