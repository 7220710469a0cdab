/** The facts about an image under QEMU's names, and their text for people in `info`. */
import type { SnapshotInfo } from '@vmblock/block-core'
import { factsText } from '@vmblock/cli'
import { humanSize } from './human-size.ts'
import type { LimitFacts } from './limits-text.ts'

/** QEMU's `SnapshotInfo`. */
export interface SnapshotFacts {
  readonly id: string
  readonly name: string
  /** Bytes. */
  readonly 'vm-state-size': bigint
  readonly 'date-sec': number
  readonly 'date-nsec': number
  readonly 'vm-clock-sec': bigint
  readonly 'vm-clock-nsec': bigint
  readonly icount?: bigint
}

/** QEMU's `ImageInfo`. Sizes in bytes. */
export interface ImageInfo {
  readonly filename: string
  readonly format: string
  readonly 'virtual-size': number
  readonly 'actual-size'?: number
  readonly encrypted?: boolean
  readonly 'cluster-size'?: number
  readonly 'dirty-flag': boolean
  readonly 'backing-filename'?: string
  readonly 'full-backing-filename'?: string
  readonly 'backing-filename-format'?: string
  readonly snapshots?: readonly SnapshotFacts[]
  readonly limits?: LimitFacts
  readonly 'format-specific'?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
}

/** The lines for people, each with its newline. `shown` makes a name safe to print. */
export function humanInfo(info: ImageInfo, shown: (name: string) => string): string {
  const size = info['virtual-size']
  const actual = info['actual-size']
  const specific = info['format-specific']
  return [
    `image: ${shown(info.filename)}\n`,
    `file format: ${info.format}\n`,
    `virtual size: ${humanSize(size)} (${size} bytes)\n`,
    `disk size: ${actual === undefined ? 'unavailable' : humanSize(actual)}\n`,
    info.encrypted ? 'encrypted: yes\n' : '',
    info['cluster-size'] === undefined ? '' : `cluster_size: ${info['cluster-size']}\n`,
    info['dirty-flag'] ? 'cleanly shut down: no\n' : '',
    backingLines(info, shown),
    info.snapshots ? `Snapshot list:\n${snapshotList(info.snapshots, shown)}` : '',
    specific ? `Format specific information:\n${factsText(specific.data, shown)}` : '',
    info.limits ? `Block limits:\n${factsText(info.limits)}` : '',
  ].join('')
}

function backingLines(info: ImageInfo, shown: (name: string) => string): string {
  const name = info['backing-filename']
  if (name === undefined) return ''
  const full = info['full-backing-filename']
  const actual =
    full === undefined
      ? ' (cannot determine actual path)'
      : full === name
        ? ''
        : ` (actual path: ${shown(full)})`
  const format = info['backing-filename-format']
  return `backing file: ${shown(name)}${actual}\n${format === undefined ? '' : `backing file format: ${shown(format)}\n`}`
}

/** The facts about a snapshot under QEMU's names. Its JSON has signed 64-bit numbers. */
export function snapshotFacts(snapshot: SnapshotInfo): SnapshotFacts {
  const { id, name, vmStateSize, dateSec, dateNsec, vmClockNsec, icount } = snapshot
  return {
    id,
    name,
    'vm-state-size': BigInt.asIntN(64, vmStateSize),
    'date-sec': dateSec,
    'date-nsec': dateNsec,
    'vm-clock-sec': vmClockNsec / SECOND,
    'vm-clock-nsec': vmClockNsec % SECOND,
    ...(icount !== undefined && { icount: BigInt.asIntN(64, icount) }),
  }
}

const SECOND = 1_000_000_000n

/** A table of snapshots (block/qapi.c, bdrv_snapshot_dump). */
export function snapshotList(snapshots: readonly SnapshotFacts[], shown: (name: string) => string): string {
  const rows = snapshots.map((snapshot) =>
    [
      padBytes(shown(snapshot.id), 9),
      ` ${padBytes(shown(snapshot.name), 16)}`,
      ` ${humanSize(Number(BigInt.asUintN(64, snapshot['vm-state-size']))).padStart(8)}`,
      dateText(snapshot['date-sec']).padStart(20),
      clockText(snapshot['vm-clock-sec'], snapshot['vm-clock-nsec']).padStart(13),
      `${snapshot.icount ?? ''}`.padStart(11),
    ].join(''),
  )
  return [HEADING, ...rows].map((row) => `${row}\n`).join('')
}

const HEADING = 'ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT'

/** Pads like printf, which counts bytes. */
const padBytes = (text: string, width: number): string =>
  text + ' '.repeat(Math.max(width - new TextEncoder().encode(text).length, 0))

const digits = (value: number | bigint, width = 2): string => `${value}`.padStart(width, '0')

/** Seconds since 1970 as local time, like `%Y-%m-%d %H:%M:%S`. */
function dateText(seconds: number): string {
  const date = new Date(seconds * 1000)
  const day = [digits(date.getFullYear(), 4), digits(date.getMonth() + 1), digits(date.getDate())].join('-')
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => digits(part)).join(':')}`
}

/** Formats the time that a machine had run: hours (without limit), minutes, seconds and milliseconds. */
function clockText(seconds: bigint, nanoseconds: bigint): string {
  const parts = [seconds / 3600n, (seconds / 60n) % 60n, seconds % 60n].map((part) => digits(part))
  return `${parts.join(':')}.${digits(nanoseconds / 1_000_000n, 3)}`
}
