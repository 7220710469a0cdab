/** `-l`: a snapshot inside an image, which is read instead of the disk. */
import {
  type BlockNode,
  isBlockError,
  messageOf,
  type SnapshotChoice,
  snapshotsOf,
} from '@vmblock/block-core'
import { Failure, type OpenImages, type OptionKind, readOptionTree } from '@vmblock/cli'
import { listSnapshots } from './snapshot-list.ts'

/** Options that name a snapshot, and else an ID or a name. The options win over a word, wherever they are. */
export interface SnapshotParam {
  readonly named?: SnapshotChoice | undefined
  readonly word?: string | undefined
}

/** `-l`. */
export const snapshotParam: OptionKind<SnapshotParam> = {
  short: 'l',
  newer: ['snapshot'],
  argument: 'snapshot_param',
  help: 'read a snapshot inside the image, by ID or name, or as snapshot.id=ID,snapshot.name=NAME',
  read(text, warn, before) {
    if (!text.startsWith('snapshot.')) return { ...before, word: text }
    const { snapshot: named, ...others } = readOptionTree(text, warn) as {
      readonly snapshot?: Readonly<Record<string, string>>
    }
    const keys = [...Object.keys(others), ...Object.keys(named ?? {}).map((key) => `snapshot.${key}`)]
    const unknown = keys.find((key) => key !== 'snapshot.id' && key !== 'snapshot.name')
    if (unknown === undefined) return { ...before, named: { ...before?.named, ...named } }
    throw new Failure([`Invalid parameter '${unknown}'`, `Failed in parsing snapshot param '${text}'`])
  },
}

/**
 * Opens a snapshot of the first source, with the size that the disk had; in QEMU, it has the size of the disk now.
 *
 * @throws Failure
 */
export async function openSnapshot(
  images: OpenImages,
  [source, ...more]: readonly BlockNode[],
  { named, word = '' }: SnapshotParam,
): Promise<BlockNode> {
  if (!named && more.length > 0) throw new Failure('No support for concatenating multiple snapshot')
  const failed = (why: string): Failure => new Failure(`Failed to load snapshot: ${why}`)
  const { driver } = source!
  if (!source!.can('snapshots'))
    throw failed(
      `Block format '${driver.name}' used by device '' does not support temporarily loading internal snapshots`,
    )
  await listSnapshots(source!)
  const snapshots = snapshotsOf(source!)
  try {
    if (named) return images.keep(await snapshots.open(named))
    const view = await snapshots.open({ id: word }).catch((error: unknown) => {
      if (!isBlockError(error, 'ENOENT')) throw error
      return snapshots.open({ name: word })
    })
    return images.keep(view)
  } catch (error) {
    throw failed(messageOf(error))
  }
}
