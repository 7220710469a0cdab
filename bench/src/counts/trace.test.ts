/** The table of the cost of an allocating write counts right. */
import { expect, test } from 'vitest'
import { sumUp } from './counts.ts'
import { parseTrace } from './trace.ts'

/** Output of strace: two threads, one call interrupted, one on another file. */
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

test('from a trace, around the data included, and metadata apart', () => {
  expect(sumUp(parseTrace(TRACE, '/tmp/image'), 1)).toEqual({
    requests: 1,
    dataWrites: 2,
    metadataWrites: 2,
    dataBytes: 65536,
    metadataBytes: 512 + 1024,
    flushes: 1,
    others: 1,
  })
})
