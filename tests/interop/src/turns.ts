/**
 * A turn: one side opens the image, makes a batch of requests, verifies what it reads, and closes the image.
 * @module
 */
import { type BlockNode, reopenNode } from '@vmblock/block-core'
import type { CacheMode } from '@vmblock/cli'
import type { Bench } from '../../support/real-qemu.ts'
import type { Model, Operation } from './operations.ts'
import { openOurs } from './ours.ts'

/** The image and the batch, for either side. */
export interface Turn {
  readonly bench: Bench
  readonly name: string
  readonly format: string
  readonly cache: CacheMode
  readonly model: Model
  readonly operations: readonly Operation[]
}

/** @throws Error that shows the bytes that differ */
export function requireEqual(actual: Uint8Array, expected: Uint8Array, from = 0): void {
  if (actual.length !== expected.length)
    throw new Error(`the disk is ${actual.length} bytes large, not ${expected.length}`)
  for (let index = 0; index < actual.length; index++) {
    if (actual[index] === expected[index]) continue
    throw new Error(`byte at ${from + index} is ${actual[index]}, not ${expected[index]}`)
  }
}

/** Our turn. */
export async function ourTurn(turn: Turn): Promise<void> {
  const node = await openOurs(turn.bench.path(turn.name), turn.format, { cache: turn.cache })
  try {
    for (const operation of turn.operations) await performOurs(node, turn.model, operation)
  } catch (error) {
    await node.crash()
    throw error
  }
  await node.close()
}

async function performOurs(node: BlockNode, model: Model, operation: Operation): Promise<void> {
  try {
    await request(node, model, operation)
  } catch (error) {
    throw new Error(`${JSON.stringify(operation)}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    })
  }
}

async function request(node: BlockNode, model: Model, operation: Operation): Promise<void> {
  switch (operation.kind) {
    case 'read':
      return verifyRange(node, model, operation.offset, operation.length)
    case 'flush':
      return node.flush()
    case 'reopen':
      await reopenNode(node, { readOnly: true })
      await verifyRange(node, model, operation.offset, operation.length)
      return reopenNode(node, { readOnly: false })
    case 'write':
      await node.write(operation.offset, model.dataOf(operation.length, operation.content))
      break
    case 'compressed':
      await node.discard(operation.offset, operation.length)
      await node.writeCompressed(operation.offset, model.dataOf(operation.length, operation.content))
      break
    case 'parallel': {
      const { offset, length, bytes } = operation
      await Promise.all(
        bytes.map((byte, index) => node.write(offset + index * length, new Uint8Array(length).fill(byte))),
      )
      break
    }
    case 'zero':
      await node.writeZeroes(operation.offset, operation.length, { mayUnmap: operation.unmap })
      break
    case 'discard':
      await node.discard(operation.offset, operation.length)
      if (model.discard === 'either') await adopt(node, model, operation.offset, operation.length)
      break
    case 'truncate':
      await node.truncate(operation.size, { preallocation: operation.preallocation })
      break
  }
  model.apply(operation)
}

/** Adopts the effect of a discard into the model: every byte is unchanged, or zero. */
async function adopt(node: BlockNode, model: Model, offset: number, length: number): Promise<void> {
  const range = model.bytes.subarray(offset, offset + length)
  const now = new Uint8Array(length)
  await node.read(offset, now)
  for (const [index, byte] of now.entries()) if (byte === 0) range[index] = 0
  requireEqual(now, range, offset)
}

async function verifyRange(node: BlockNode, model: Model, offset: number, length: number): Promise<void> {
  const into = new Uint8Array(length)
  await node.read(offset, into)
  requireEqual(into, model.bytes.subarray(offset, offset + length), offset)
}

/**
 * QEMU's turn: one qemu-io for the whole batch, except for compressed writes. Such a write goes on in the host cluster of the last
 * one, even if that was freed and belongs to something else now (the next check finds it); a new process begins a new cluster.
 *
 * QEMU finds the alignment that a file needs with O_DIRECT by
 * reading its start, which shows nothing if that is a hole; then it does not support every size of a raw disk
 * (raw_probe_alignment).
 */
export function realTurn({ bench, name, format, cache: wanted, model, operations }: Turn): void {
  const cache = wanted === 'none' && format === 'raw' ? 'writeback' : wanted
  const sessions: string[][] = [[]]
  for (const operation of operations) {
    const commands = commandsOf(model, possible(operation, cache), format)
    if (operation.kind === 'compressed') sessions.push(commands, [])
    else sessions.at(-1)!.push(...commands)
    model.apply(operation)
    if (operation.kind === 'discard' && model.discard === 'either')
      model.apply({ ...operation, kind: 'zero', unmap: true })
  }
  for (const commands of sessions.filter(({ length }) => length > 0))
    qemuIo(bench, name, format, cache, commands)
}

function qemuIo(
  bench: Bench,
  name: string,
  format: string,
  cache: CacheMode,
  commands: readonly string[],
): void {
  const args = commands.flatMap((command) => ['-c', command])
  const { status, stdout, stderr } = bench.attempt('qemu-io', '-f', format, '-t', cache, ...args, name)
  const complaint = /^.*(failed|rror|nvalid|annot|can't|not found).*$/m.exec(stdout + stderr)?.[0]
  if (status === 0 && complaint === undefined && stderr === '') return
  throw new Error(`qemu-io ends with ${status}: ${complaint ?? stderr}`)
}

/**
 * With O_DIRECT, QEMU fills a file from memory that may lie at any address (raw_regular_truncate); whether
 * the host accepts that is chance.
 */
const possible = (operation: Operation, cache: CacheMode): Operation =>
  operation.kind === 'truncate' && operation.preallocation === 'full' && cache === 'none'
    ? { ...operation, preallocation: 'falloc' }
    : operation

function commandsOf(model: Model, operation: Operation, format: string): string[] {
  switch (operation.kind) {
    case 'read':
      return [readCommand(model, operation.offset, operation.length)]
    case 'flush':
      return ['flush']
    case 'reopen':
      return ['reopen -r', readCommand(model, operation.offset, operation.length), 'reopen -w']
    case 'write':
      return [writeCommand('', operation)]
    case 'compressed':
      return [`discard ${operation.offset} ${operation.length}`, writeCommand('-c ', operation)]
    case 'parallel': {
      const { offset, length, bytes } = operation
      // QEMU's QED fails an assertion when several writes allocate at a time.
      const write = format === 'qed' ? 'write' : 'aio_write'
      const writes = bytes.map((byte, index) => `${write} -P ${byte} ${offset + index * length} ${length}`)
      return [...writes, 'aio_flush']
    }
    case 'zero':
      return [`write -z ${operation.unmap ? '-u ' : ''}${operation.offset} ${operation.length}`]
    case 'discard':
      return discardCommands(model, operation.offset, operation.length)
    case 'truncate':
      return truncateCommands(model.bytes.length, operation.size, operation.preallocation)
  }
}

const writeCommand = (
  flag: string,
  { offset, length, content }: Operation & { kind: 'write' | 'compressed' },
): string =>
  `write ${flag}${'byte' in content ? `-P ${content.byte}` : `-s ${patternName(content.file)}`} ${offset} ${length}`

/**
 * When a disk grows, QEMU shows old contents: in the last cluster, what lay beyond the end when the disk was
 * shrunk (2 MiB is the largest cluster); and anywhere in a preallocated range, the contents of freed clusters
 * that it reuses. So these commands write the zeroes that the model, and our library, take for granted. See
 * `freed.test.ts`.
 */
function truncateCommands(before: number, after: number, preallocation: string): string[] {
  const end = preallocation !== 'off' ? after : Math.min(Math.ceil(before / 2 ** 21) * 2 ** 21, after)
  const command = `truncate -m ${preallocation} ${after}`
  return end > before ? [command, `write -z ${before} ${end - before}`] : [command]
}

/** Writes zeroes after a discard whose effect depends on the host. */
function discardCommands(model: Model, offset: number, length: number): string[] {
  const command = `discard ${offset} ${length}`
  return model.discard === 'either' ? [command, `write -z -u ${offset} ${length}`] : [command]
}

/** qemu-io can verify a range of one byte; the rest is compared with the model at the end of the turn. */
function readCommand(model: Model, offset: number, length: number): string {
  const byte = model.uniform(offset, length)
  return `read ${byte === undefined ? '' : `-P ${byte} `}${offset} ${length}`
}

/** The name of a pattern file, in the directory of the test. */
export const patternName = (index: number): string => `pattern.${index}`
