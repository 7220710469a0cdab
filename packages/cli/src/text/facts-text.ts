/** Formats facts about an image as QEMU's tools print them for people: nested `key: value` lines. */
import { dictionaryEntries } from '@vmblock/block-core/driver'

/**
 * Returns the lines of a tree of facts, each with its newline: four spaces for each level, keys in QEMU's
 * order, with spaces instead of dashes.
 *
 * @param shown makes a text, which may come from the image, safe to print
 */
export function factsText(tree: object, shown: (text: string) => string = (text) => text, level = 1): string {
  const entries: [string, unknown][] = Array.isArray(tree)
    ? tree.map((item, index) => [`[${index}]`, item])
    : dictionaryEntries(tree).map(([key, value]) => [key.replaceAll('-', ' '), value])
  return entries
    .map(([label, value]) => {
      const start = `${'    '.repeat(level)}${label}:`
      if (typeof value === 'object' && value !== null)
        return `${start}\n${factsText(value, shown, level + 1)}`
      return `${start} ${shown(String(value))}\n`
    })
    .join('')
}
