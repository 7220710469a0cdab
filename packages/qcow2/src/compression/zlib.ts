/** Raw deflate, through the platform's own streams. */

/** Fills `into` from a stream, and stops as soon as it is full. @returns bytes filled */
async function fill(into: Uint8Array, reader: ReadableStreamDefaultReader<Uint8Array>): Promise<number> {
  let filled = 0
  while (filled < into.length) {
    const { value, done } = await reader.read()
    if (done) break
    const wanted = value.subarray(0, into.length - filled)
    into.set(wanted, filled)
    filled += wanted.length
  }
  return filled
}

/**
 * The first `clusterSize` bytes of a stream; data behind it is ignored.
 *
 * @throws Error if the data is broken, or gives less
 */
export async function decompress(data: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const { readable, writable } = new DecompressionStream('deflate-raw')
  const reader = readable.getReader() as ReadableStreamDefaultReader<Uint8Array>
  const writer = writable.getWriter()
  const cluster = new Uint8Array(clusterSize)
  // The stream's errors come out of its readable side as well: here only the end of the input matters.
  // `slice` because a stream may take the array's buffer away.
  const fed = writer
    .write(data.slice())
    .then(() => writer.close())
    .catch(() => undefined)
  try {
    if ((await fill(cluster, reader)) < clusterSize) throw new Error('The deflated data is too short')
    return cluster
  } finally {
    await reader.cancel().catch(() => undefined)
    await fed
  }
}

/** A cluster, deflated; undefined if that saves nothing. */
export async function compress(cluster: Uint8Array): Promise<Uint8Array | undefined> {
  const stream = new Blob([cluster.slice()]).stream().pipeThrough(new CompressionStream('deflate-raw'))
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer())
  return bytes.length < cluster.length ? bytes : undefined
}
