/** `amend` and `resize` against QEMU's: every option, with progress, what is refused, and what the images are afterwards. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

const WRITES = "-c 'write 0 1M' -c 'write 10M 200k' -c 'write -z 20M 1M'"

describe.skipIf(!installed)('amend, as QEMU 7.2 says it', () => {
  it('changes the width of refcounts', { timeout: 240_000 }, async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a 100M',
      `io:qcow2: ${WRITES} a`,
      ...[64, 8].flatMap((bits) => [`amend -p -o refcount_bits=${bits} a`, 'judge: check a']),
      'info a',
      'judge: map a',
      'made: create -q -f qcow2 -o cluster_size=512,refcount_bits=64 b 64k',
      "io:qcow2: -c 'write 0 64k' b",
      ...[1].flatMap((bits) => [`amend -o refcount_bits=${bits} b`, 'judge: check -q b']),
      'made: snapshot -c s a',
      'amend -p -o refcount_bits=1 a',
      'amend -p -o refcount_bits=2 a',
      'judge: check -q a',
      ...['3', '128', '0'].map((bits) => `amend -p -o refcount_bits=${bits} a`),
      'amend -p -o compat=0.10,refcount_bits=8 a',
      'amend -p -o compat=0.10 a',
    ])
  })

  it('changes versions and features', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 -o compat=0.10 a 100M',
      `io:qcow2: -c 'write 0 1M' a`,
      'amend -p -o compat=1.1,refcount_bits=8 a',
      'info a',
      'amend -p -o lazy_refcounts=on a',
      'amend -p -o refcount_bits=16,compat=1.1,lazy_refcounts=off a',
      'amend -p -o size=50M a',
      'amend -p -o size=200M a',
      'info a',
      'amend -p -o compat=0.10 a',
      'amend -p -o compat=0.10,lazy_refcounts=on a',
      'info a',
      'judge: check a',
      'made: create -q -f qcow2 -o compression_type=zstd z 10M',
      "io:qcow2: -c 'write -c 1M 64k' z",
      'amend -o compat=0.10 z',
      "io:qcow2: -d unmap -c 'discard 0 10M' z",
      'info z',
      'made: create -q -f qcow2 -o compression_type=zstd y 10M',
      'amend -o compat=0.10 y',
      'info y',
    ])
  })

  it('changes the data file, and leaves the backing file to rebase', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 -o data_file=x.data,data_file_raw=on f 1M',
      'amend -o data_file_raw=on f',
      'amend -o data_file=x.data f',
      'amend -o data_file_raw=off f',
      'info f',
      'amend -o data_file_raw=on f',
      'amend -o data_file=y.data f',
      'info f',
      'amend -o data_file= f',
      'amend --image-opts -o data_file= driver=qcow2,file.filename=f,data-file.driver=file,data-file.filename=x.data',
      'made: create -q -f qcow2 a 1M',
      'made: create -q -f qcow2 -b a -F qcow2 o',
      ...['backing_file=a', 'backing_file=a,backing_fmt=qcow2', 'backing_file=', 'backing_fmt=raw'].flatMap(
        (list) => [`amend -p -o ${list} o`, `amend -p -o ${list} a`],
      ),
      'amend -p -o data_file=foo a',
      'amend -p -o data_file_raw=on a',
      'amend -p -o data_file_raw=off a',
      'amend -o cluster_size=4k a',
    ])
  })
})
