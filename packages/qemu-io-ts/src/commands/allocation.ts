/** `alloc` and `map`: show the allocation of the top layer. */
import type { BlockNode } from '@vmblock/block-core'
import { errorText } from '@vmblock/block-core/late'
import { Failure } from '@vmblock/cli'
import { defineCommand, Stop } from '../session/command.ts'
import { parseSize } from '../session/kinds.ts'
import { humanSize } from '../session/report.ts'

const SECTOR = 512

/** `alloc`. */
export const alloc = defineCommand({
  name: 'alloc',
  alias: 'a',
  usage: 'offset [count]',
  summary: 'checks if offset is allocated in the file',
  needsImage: true,
  wordCount: { min: 1, max: 2 },

  async run({ session, node, operands, print, warn }) {
    const start = parseSize(operands[0]!, warn)
    let count = operands[1] === undefined ? SECTOR : parseSize(operands[1], warn)
    let allocated = 0
    for (let done = 0; done < count; ) {
      let run: { readonly bytes: number; readonly allocated: boolean }
      try {
        run = await session.wait(statusAt(node, start + done, count - done))
      } catch (error) {
        throw new Stop(`is_allocated failed: ${errorText(error)}\n`)
      }
      // The range ends at the end of the disk.
      if (run.bytes === 0) count = done
      if (run.allocated) allocated += run.bytes
      done += run.bytes
    }
    print(`${allocated}/${count} bytes allocated at offset ${humanSize(start)}\n`)
    return 'ok'
  },
})

async function statusAt(
  node: BlockNode,
  offset: number,
  bytes: number,
): Promise<{ readonly bytes: number; readonly allocated: boolean }> {
  return offset >= node.size ? { bytes: 0, allocated: false } : node.blockStatus(offset, bytes)
}

const hex = (value: number): string => `0x${value.toString(16)}`

/** `map`. */
export const map = defineCommand({
  name: 'map',
  usage: '',
  summary: 'prints the allocated areas of a file',
  needsImage: true,
  wordCount: { min: 0, max: 0 },

  async run({ session, node, print }) {
    const end = node.size
    for (let offset = 0; offset < end; ) {
      let run: { readonly bytes: number; readonly allocated: boolean }
      try {
        run = await session.wait(mergedRun(node, offset, end))
      } catch (error) {
        throw new Failure(`Failed to get allocation status: ${errorText(error)}`)
      }
      if (run.bytes === 0) throw new Failure('Unexpected end of image')
      const state = run.allocated ? '    allocated' : 'not allocated'
      print(
        `${humanSize(run.bytes)} (${hex(run.bytes)}) bytes ${state} at offset ${humanSize(offset)} (${hex(offset)})\n`,
      )
      offset += run.bytes
    }
    return 'ok'
  },
})

/** Finds the longest run from `offset` with the same allocation. */
async function mergedRun(
  node: BlockNode,
  offset: number,
  end: number,
): Promise<{ readonly bytes: number; readonly allocated: boolean }> {
  const { bytes, allocated } = await node.blockStatus(offset, end - offset)
  let total = bytes
  while (offset + total < end) {
    const next = await node.blockStatus(offset + total, end - offset - total)
    if (next.allocated !== allocated || next.bytes === 0) break
    total += next.bytes
  }
  return { bytes: total, allocated }
}
