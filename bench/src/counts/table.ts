/** The table of the cost of an allocating write: each kind of image, ours and QEMU's side by side. */
import { join } from 'node:path'
import { markdownTable } from 'markdown-table'
import { isAvailable, KINDS, RESERVED } from '../images.ts'
import { countOurs, countTheirs, type Stream } from './allocating.ts'
import type { Counts } from './counts.ts'

const COLUMNS: readonly (readonly [title: string, key: Exclude<keyof Counts, 'requests'>])[] = [
  ['data writes', 'dataWrites'],
  ['metadata writes', 'metadataWrites'],
  ['flushes', 'flushes'],
  ['other', 'others'],
  ['data bytes', 'dataBytes'],
  ['metadata bytes', 'metadataBytes'],
]

/** One line: the side, and the cost of each guest write. */
export function countRow(title: string, counts: Counts): string[] {
  const perWrite = (total: number): string =>
    (total / counts.requests).toLocaleString('en', { maximumFractionDigits: 2 })
  return [title, ...COLUMNS.map(([, key]) => perWrite(counts[key]))]
}

/** Rows as a Markdown table. */
export const countTable = (rows: readonly (readonly string[])[]): string =>
  markdownTable([['per write', ...COLUMNS.map(([title]) => title)], ...rows.map((row) => [...row])], {
    align: ['l', ...COLUMNS.map(() => 'r')],
  })

/**
 * Counts and writes the table.
 *
 * @param directory for the images
 * @param qemu version of QEMU's programs, if they can be traced
 */
export async function seedTable(
  directory: string,
  qemu: string | undefined,
  { writes, depth }: Pick<Stream, 'writes' | 'depth'>,
): Promise<string> {
  const rows: string[][] = []
  for (const kind of [...KINDS, RESERVED]) {
    if (!isAvailable(kind)) continue
    const stream = { kind, path: join(directory, 'counted'), writes, depth }
    rows.push(countRow(`${kind.title}: vmblock`, await countOurs(stream)))
    if (qemu !== undefined && kind !== RESERVED)
      rows.push(countRow(`${kind.title}: QEMU ${qemu}`, await countTheirs(stream)))
  }
  return countTable(rows)
}
