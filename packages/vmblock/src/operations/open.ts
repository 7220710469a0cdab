/** Opens a disk. */
import { BlockError, type CheckReport, type Disk } from '@vmblock/block-core'
import { requireFlag, requireOptions, requireText } from '@vmblock/block-core/driver'
import type { Allow } from '@vmblock/sources'
import { VirtualDisk } from '../disk/virtual-disk.ts'
import { HOST_OPTIONS, type Platform, settingsOf } from '../platform/platform.ts'
import { openOriginal } from './opened.ts'

/** How a disk is opened. */
export interface OpenOptions {
  /** The format of the image: `qcow2`, `qed`, `raw`. Default: found out from its content. */
  readonly format?: string | undefined
  /** Default: no, where the source can be written. */
  readonly readOnly?: boolean | undefined
  /** Which files the image may name: its backing file, its data file. */
  readonly allow?: Allow | undefined
  /** Receives every warning, also about backing files. */
  readonly onWarn?: ((line: string) => void) | undefined
  /** Called after every repair that opening makes, because the image was not closed. */
  readonly onRepair?: ((report: CheckReport) => void) | undefined
}

const OPEN = { format: requireText, readOnly: requireFlag, ...HOST_OPTIONS }

/** See `open` of the entries. */
export async function openDisk(
  platform: Platform,
  source: unknown,
  options: OpenOptions = {},
): Promise<VirtualDisk> {
  requireOptions(options, 'options', OPEN)
  const { format, readOnly } = options
  const settings = settingsOf(platform, options)
  const opened = await openOriginal(platform, source, { settings, format, readOnly })
  const { node, isOwn, environment } = opened
  if (!isHandle(node))
    throw new BlockError('EINVAL', "Parameter 'source' is a node inside a graph: give what openNode returned")
  if (readOnly !== undefined && !isOwn && readOnly !== node.readOnly)
    throw new BlockError('EINVAL', `Parameter 'readOnly' is ${readOnly}, and the open disk is not: reopen it`)
  return new VirtualDisk({ node, ownsNode: isOwn, environment })
}

/** Handles of any copy of the core have statistics. */
const isHandle = (node: object): node is Disk => 'statistics' in node
