/** The table of what an allocating write costs counts right. */
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

interface SeedTable {
  parseTrace(text: string, filename: string): readonly object[]
  summarize(calls: readonly object[]): object
}

const load = async (): Promise<SeedTable> =>
  (await import(fileURLToPath(new URL('../../scripts/seed-table.mjs', import.meta.url)))) as SeedTable

/** As strace prints it: two threads, one call interrupted, one on another file. */
const TRACE = `
11 pwrite64(4</tmp/image>, "Q"..., 512, 0) = 512
11 pwrite64(4</tmp/image>, "\\0"..., 61440, 331776 <unfinished ...>
12 pwrite64(4</tmp/image>, "Z"..., 4096, 327680) = 4096
11 <... pwrite64 resumed>)               = 61440
12 pwritev(4</tmp/image>, [{iov_base="\\0"..., iov_len=512}, {iov_base="\\0"..., iov_len=512}], 2, 65536) = 1024
11 fallocate(4</tmp/image>, FALLOC_FL_KEEP_SIZE, 0, 4096) = 0
11 fdatasync(4</tmp/image>)              = 0
11 fdatasync(5</tmp/other>)              = 0
`

test('from a trace, around the data included, and metadata apart', async () => {
  const { parseTrace, summarize } = await load()
  expect(summarize(parseTrace(TRACE, '/tmp/image'))).toEqual({
    dataWrites: 2,
    metadataWrites: 2,
    dataBytes: 65536,
    metadataBytes: 512 + 1024,
    flushes: 1,
    others: 1,
  })
})
