/** Sizes for people, as qemu-img writes them. */
import { generalText } from '@vmblock/cli'

const PREFIXES = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei']

/**
 * Formats a number of bytes for people: three significant digits, in the unit that keeps the integer part
 * below 1000 (QEMU's `size_to_str`).
 */
export function humanSize(bytes: number): string {
  let power = 0
  while (power < PREFIXES.length - 1 && bytes / (1000 / 1024) >= 1024 ** (power + 1)) power++
  return `${generalText(bytes / 1024 ** power, 3)} ${PREFIXES[power]}B`
}
