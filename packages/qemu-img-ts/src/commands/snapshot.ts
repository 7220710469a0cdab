/** `snapshot`: lists, makes, applies and deletes the snapshots inside an image. */

import type { BlockNode } from '@vmblock/block-core'
import {
  type BlockErrorCode,
  isBlockError,
  messageOf,
  type SnapshotInfo,
  snapshotsOf,
} from '@vmblock/block-core'
import { errnoOf, strerror } from '@vmblock/block-core/late'
import { Failure, type OptionKind, oneImage, shared, usageFailure } from '@vmblock/cli'
import { openImage } from '../images/image.ts'
import { listSnapshots } from '../images/snapshot-list.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { snapshotFacts, snapshotList } from '../text/info-text.ts'

const mixed = (): Failure => usageFailure("Cannot mix '-l', '-a', '-c', '-d'")

/** An action on the snapshot of that name. It may be given once. */
const action = (short: string, long: string, help: string): OptionKind<string> => ({
  short,
  newer: [long],
  argument: 'snapshot',
  help,
  read(text, _warn, before) {
    if (before !== undefined) throw mixed()
    return text
  },
})

const options = {
  imageOpts: shared.imageOpts,
  format: { ...shared.format, short: undefined, long: undefined, newer: ['f', 'format'] },
  forceShare: shared.forceShare,
  quiet: shared.quiet,
  list: {
    short: 'l',
    newer: ['list'],
    help: 'list them; what is done without any of these options',
    read(_text, _warn, before) {
      if (before) throw mixed()
      return true
    },
  } satisfies OptionKind<true> as OptionKind<true>,
  apply: action('a', 'apply', 'go back to one, by ID or name; what was written since is lost'),
  create: action('c', 'create', 'make one of that name'),
  delete: action('d', 'delete', 'delete one, by name'),
} as const

/** The subcommand. */
export const snapshot = defineCommand({
  name: 'snapshot',
  summary: 'list, make, apply or delete the snapshots inside an image',
  details: [
    'A snapshot keeps what the disk holds at a moment, inside the same image. The options -l, -c, -a and -d exclude each',
    'other.',
  ],
  operandHelp: { filename: 'the image' },
  example: 'snapshot -c before-update disk.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: Call<typeof options>): Promise<number> {
  const { options, output } = call
  const actions = [options.list, options.apply, options.create, options.delete]
  if (actions.filter((each) => each !== undefined).length > 1) throw mixed()
  const name = oneImage(call)
  const { imageOpts, format, forceShare } = options
  // Without an action, QEMU 7.2 does nothing, and 10.1 lists.
  const list = options.list ?? actions.every((each) => each === undefined)
  const write = !list
  const extra = write && { extra: { discard: 'unmap' } }
  const node = await openImage(call, { name, format, imageOpts, forceShare, write, ...extra })
  const snapshots = await listSnapshots(node)
  if (list && snapshots.length > 0)
    output.print(
      `Snapshot list:\n${snapshotList(snapshots.map(snapshotFacts), (text) => output.shown(text))}`,
    )
  if (options.create !== undefined) await create(node, options.create)
  if (options.apply !== undefined) await apply(call, node, options.apply)
  if (options.delete !== undefined) await remove(node, snapshots, options.delete)
  return 0
}

const codeOf = (error: unknown): BlockErrorCode => (isBlockError(error) ? error.code : 'EIO')

async function create(node: BlockNode, name: string): Promise<void> {
  try {
    // QEMU's program says that 0 instructions were executed, not that they were not counted.
    await snapshotsOf(node).create(name, { icount: 0n })
  } catch (error) {
    const code = codeOf(error)
    throw new Failure(`Could not create snapshot '${name}': ${-errnoOf(code)} (${strerror(code)})`)
  }
}

/** Errors that QEMU's driver tells beside the one of the operation. */
const TOLD = /^(Can't resize|Snapshot L1 table|The size of the snapshot)/

async function apply({ output }: Call, node: BlockNode, name: string): Promise<void> {
  const snapshots = snapshotsOf(node)
  const failed = (why: string): Failure => new Failure(`Could not apply snapshot '${name}': ${why}`)
  if (!node.can('snapshots')) throw failed('Block driver does not support snapshots')
  try {
    await snapshots.apply({ id: name }).catch((error: unknown) => {
      if (!isBlockError(error, 'ENOENT')) throw error
      return snapshots.apply({ name })
    })
  } catch (error) {
    if (isBlockError(error, 'EBUSY')) throw failed(messageOf(error))
    if (TOLD.test(messageOf(error))) output.error(messageOf(error))
    throw failed(`Failed to load snapshot: ${strerror(codeOf(error))}`)
  }
}

async function remove(node: BlockNode, list: readonly SnapshotInfo[], wanted: string): Promise<void> {
  const failed = (why: string): Failure => new Failure(`Could not delete snapshot '${wanted}': ${why}`)
  const found = list.find(({ name }) => name === wanted)
  if (!found) throw failed('snapshot not found')
  try {
    await snapshotsOf(node).delete({ id: found.id, name: found.name })
  } catch (error) {
    throw failed(messageOf(error))
  }
}
