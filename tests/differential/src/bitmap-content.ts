/**
 * What the bitmaps of an image say, read from its file by the specification alone: which ranges are dirty.
 * @module
 */
import { readFileSync } from 'node:fs'
import { readBitmaps } from '../../interop/src/bitmap-reader.ts'

/** One line for each bitmap of the image at `path`, by name: its flags, granularity, and runs of dirty blocks. */
export function bitmapsIn(path: string): string {
  const file = readFileSync(path)
  // Version 2 has none, and no field for the length of its header.
  if (file.readUInt32BE(4) < 3) return ''
  return readBitmaps(file)
    .map(({ name, granularity, inUse, auto, dirty }) => {
      const flags = [inUse && 'in use', auto && 'auto'].filter(Boolean).join(', ')
      return `${name}: ${flags || 'disabled'}, blocks of ${granularity}: ${runsOf(dirty)}`
    })
    .sort()
    .join('\n')
}

/** Consecutive numbers as `first-last`. */
function runsOf(numbers: readonly number[]): string {
  const runs: [number, number][] = []
  for (const number of numbers) {
    const last = runs.at(-1)
    if (last && last[1] === number - 1) last[1] = number
    else runs.push([number, number])
  }
  return runs.map((run) => run.join('-')).join(' ') || 'none'
}
