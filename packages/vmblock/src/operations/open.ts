/** Opens a disk. */

import { requireFlag, requireOptions, requireSignal, requireText } from '@vmblock/block-core/driver'
import { type AbortSignalLike, BlockError, type CheckReport, type Disk } from '@vmblock/block-core/open'
import type { Allow } from '@vmblock/sources'
import { loadImages } from '../disk/load-images.ts'
import type { SnapshotReference } from '../disk/snapshots.ts'
import { VirtualDisk } from '../disk/virtual-disk.ts'
import { keyOptions, type Passphrases, requirePassphrases, secretsOf } from '../options/passphrases.ts'
import { HOST_OPTIONS, type Platform, settingsOf } from '../platform/platform.ts'
import { untilAborted } from '../streams/until-aborted.ts'
import { openOriginal } from './opened.ts'

/** How a disk is opened. */
export interface OpenOptions {
  /** The format of the image: `qcow2`, `qed`, `raw`. Default: found out from its content. */
  readonly format?: string | undefined
  /** Default: no, where the source can be written. */
  readonly readOnly?: boolean | undefined
  /** A snapshot inside the image, which is shown read-only instead of the disk: its name, or `{ id }`. */
  readonly snapshot?: SnapshotReference | undefined
  /**
   * The passphrase of an encrypted image; a list has those of its backing file, of that one's, and so on, too. It is in no
   * message, and is not kept.
   */
  readonly passphrase?: Passphrases | undefined
  /** Which files the image may name: its backing file, its data file. */
  readonly allow?: Allow | undefined
  /** Receives every warning, also about backing files. */
  readonly onWarn?: ((line: string) => void) | undefined
  /** Called after every repair that opening makes, because the image was not closed. */
  readonly onRepair?: ((report: CheckReport) => void) | undefined
  /**
   * Ends the opening, which a repair or a slow server can make long. What is under way is completed out of sight, and
   * the image closed.
   */
  readonly signal?: AbortSignalLike | undefined
}

const OPEN = {
  format: requireText,
  readOnly: requireFlag,
  signal: requireSignal,
  // Checked where the snapshot is looked up.
  snapshot: () => undefined,
  passphrase: requirePassphrases,
  ...HOST_OPTIONS,
}

/** See `open` of the entries. */
export async function openDisk(
  platform: Platform,
  source: unknown,
  options: OpenOptions = {},
): Promise<VirtualDisk> {
  requireOptions(options, 'options', OPEN)
  const { signal } = options
  signal?.throwIfAborted()
  const opening = openNow(platform, source, options)
  if (!signal) return opening
  return untilAborted(opening, signal).catch((error: unknown) => {
    if (signal.aborted) opening.then((disk) => disk.close()).catch(() => undefined)
    throw error
  })
}

async function openNow(platform: Platform, source: unknown, options: OpenOptions): Promise<VirtualDisk> {
  const { format, snapshot, passphrase } = options
  const readOnly = snapshot === undefined ? options.readOnly : true
  if (snapshot !== undefined && options.readOnly === false)
    throw new BlockError('EINVAL', "Parameter 'readOnly' is false, and a snapshot can only be read")
  const settings = settingsOf(platform, options, secretsOf({ passphrase }))
  const keys = keyOptions('passphrase', passphrase)
  const opened = await openOriginal(platform, source, { settings, format, readOnly, keys })
  const { node, isOwn, environment } = opened
  if (!isHandle(node))
    throw new BlockError('EINVAL', "Parameter 'source' is a node inside a graph: give what openNode returned")
  if (snapshot === undefined && readOnly !== undefined && !isOwn && readOnly !== node.readOnly)
    throw new BlockError('EINVAL', `Parameter 'readOnly' is ${readOnly}, and the open disk is not: reopen it`)
  if (passphrase !== undefined && !isOwn)
    throw new BlockError('EINVAL', "Parameter 'passphrase' is given, and the disk is open already")
  if (snapshot === undefined) return new VirtualDisk({ node, ownsNode: isOwn, environment })
  try {
    const { snapshotsOf } = await loadImages()
    const shown = await snapshotsOf(node).open(snapshot)
    return new VirtualDisk({ node: shown, ownsNode: true, environment, ...(isOwn && { image: node }) })
  } catch (error) {
    if (isOwn) await node.close()
    throw error
  }
}

/** Handles of any copy of the core have statistics. */
const isHandle = (node: object): node is Disk => 'statistics' in node
