/** Names as bytes, for headers and directories that are written. */
import { concat } from './concat.ts'

const encoder = new TextEncoder()

/** The bytes of a name; the inverse of {@link decodeName}. No NUL is added. */
export function encodeName(name: string): Uint8Array {
  if (!/[\udc80-\udcff]/u.test(name)) return encoder.encode(name)
  return concat(
    Array.from(name, (character) => {
      const code = character.codePointAt(0)!
      return code >= 0xdc80 && code <= 0xdcff ? Uint8Array.of(code - 0xdc00) : encoder.encode(character)
    }),
  )
}
