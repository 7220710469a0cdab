/**
 * The process that is killed: writes without end, and reports each step on standard output before it starts
 * and when it is done. Its only argument is its order, as JSON.
 * @module
 */
import { writeSync } from 'node:fs'
import { type BlockNode, isBlockError } from '@vmblock/block-core'
import { fillSector, type KillOrder, LANES, SECTOR, type Step, stepsOf } from './kill-plan.ts'
import { openOurs } from './ours.ts'

const order = JSON.parse(process.argv[2]!) as KillOrder

// Immediately, bypassing every buffer of this process, so that output survives the kill.
const say = (line: string): number => writeSync(1, `${line}\n`)

function perform(node: BlockNode, step: Step, lane: number, index: number): Promise<void> {
  switch (step.kind) {
    case 'flush':
      return node.flush()
    case 'resize':
      return resize(node, step.size)
    case 'zero':
      return node.writeZeroes(step.offset, step.length, { mayUnmap: index % 2 === 0 })
    case 'discard':
      return node.discard(step.offset, step.length)
    case 'write': {
      const data = new Uint8Array(step.length)
      for (let at = 0; at < step.length; at += SECTOR)
        fillSector(data.subarray(at, at + SECTOR), step.offset + at, lane, index)
      return node.write(step.offset, data)
    }
  }
}

async function resize(node: BlockNode, size: number): Promise<void> {
  try {
    await node.truncate(size)
  } catch (error) {
    // QED only grows.
    if (!isBlockError(error, 'ENOTSUP')) throw error
  }
}

async function run(node: BlockNode, lane: number): Promise<void> {
  let index = 0
  for (const step of stepsOf(order, lane)) {
    say(`start ${lane} ${index}`)
    await perform(node, step, lane, index)
    say(`done ${lane} ${index}`)
    index++
  }
}

// The open repairs a dirty image.
say('opening')
const node = await openOurs(order.path, order.format, { cache: order.cache, aio: order.aio })
await Promise.all(Array.from({ length: LANES }, (_, lane) => run(node, lane)))
