/** Cuts standard input into lines as qemu-io does if it is not a terminal. */

/** Most bytes that C's fgets puts into qemu-io's buffer. */
const LONGEST = 1023
const NEWLINE = 10

/**
 * Cuts input into lines as it arrives. A line of more than 1023 bytes, with its newline, is cut into several,
 * each a separate command; a last line without newline counts.
 */
export async function* cutLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let rest = new Uint8Array(0)
  for await (const chunk of chunks) {
    const bytes = new Uint8Array(rest.length + chunk.length)
    bytes.set(rest)
    bytes.set(chunk, rest.length)
    let start = 0
    while (start < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, start)
      const end = newline < 0 ? bytes.length : newline
      if (end - start >= LONGEST) {
        yield decoder.decode(bytes.subarray(start, start + LONGEST))
        start += LONGEST
        continue
      }
      if (newline < 0) break
      yield decoder.decode(bytes.subarray(start, end))
      start = end + 1
    }
    rest = bytes.slice(start)
  }
  if (rest.length > 0) yield decoder.decode(rest)
}
