/** `measure` against QEMU's: seeded options and sizes, sources with holes, chains, and what is refused. */
import { createRandom } from '@vmblock/block-core/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

/** Option lists that make sense together, by a seed. */
function optionsOf(seed: number): string {
  const random = createRandom(seed)
  const list = [
    random.pick([
      '',
      'cluster_size=512',
      'cluster_size=4k',
      'cluster_size=16k',
      'cluster_size=64k',
      'cluster_size=2M',
    ]),
    random.pick(['', '', 'refcount_bits=1', 'refcount_bits=8', 'refcount_bits=64']),
    random.pick(['', '', 'preallocation=metadata', 'preallocation=falloc', 'preallocation=full']),
    random.pick([
      '',
      '',
      'data_file=x',
      'data_file=x,data_file_raw=on',
      'lazy_refcounts=on',
      'compression_type=zstd',
    ]),
    random.pick(['', '', 'compat=1.1', 'compat=0.10', 'extended_l2=on']),
  ].filter((option) => option !== '')
  return list.length > 0 ? `-o ${list.join(',')} ` : ''
}

describe.skipIf(!installed)('measure, as QEMU 7.2 says it', () => {
  it('of sizes', async () => {
    const random = createRandom(15)
    const sizes = ['0', '1', '100', '512', '64k', '1M', '10G', '4T', '100T']
    await sayTheSame([
      ...sizes.map((size) => `measure --size ${size}`),
      ...sizes.map((size) => `measure -O qcow2 --size ${size}`),
      ...Array.from({ length: 40 }, (_, i) => `measure -O qcow2 ${optionsOf(i)}--size ${random.pick(sizes)}`),
      'measure --output=json --size 5M',
      'measure --output json -O qcow2 --size 5M',
      'measure -O qcow2 -o size=5M --size 1G',
      'measure -O qcow2 -o backing_file=a --size 1G',
      'measure -O raw -o preallocation=full --size 1',
    ])
  })

  // QEMU measures how fast it derives keys, which takes seconds.
  it('of encrypted images', { timeout: 240_000 }, async () => {
    const object = '--object secret,id=s,data=abc'
    await sayTheSame([
      `measure ${object} -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 --size 1G`,
      `measure ${object} -O qcow2 -o encrypt.format=aes,encrypt.key-secret=s,encrypt.iter-time=10 --size 1G`,
      'measure -O qcow2 -o encrypt.format=luks --size 1G',
    ])
  })

  it('of images', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 100M',
      "io:qcow2: -c 'write 0 1M' -c 'write 10M 200k' -c 'write -z 20M 1M' -c 'write 30000k 3k' a.qcow2",
      'made: create -q -f qcow2 -b a.qcow2 -F qcow2 ov.qcow2',
      "io:qcow2: -c 'write 50M 64k' -c 'write 90M 512' ov.qcow2",
      'made: create -q -f qcow2 -o compat=0.10,cluster_size=4k old.qcow2 10M',
      "io:qcow2: -c 'write 5M 100k' old.qcow2",
      'made: create -q r.raw 10M',
      "io:raw: -c 'write 1M 100k' -c 'write 8M 4k' r.raw",
      ...['a.qcow2', 'ov.qcow2', 'old.qcow2', 'r.raw'].flatMap((name) => [
        `measure ${name}`,
        `measure -O raw ${name}`,
        `measure -O qcow2 ${name}`,
        `measure --output=json -O qcow2 ${name}`,
        ...[1, 2, 3, 4, 5, 6].map((seed) => `measure -O qcow2 ${optionsOf(seed * 7)}${name}`),
        `measure -O qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 ${name}`,
      ]),
      'measure -f raw -O qcow2 old.qcow2',
      'measure --image-opts -O qcow2 driver=qcow2,file.filename=a.qcow2',
      'measure -U -O qcow2 a.qcow2',
      'made: snapshot -c early a.qcow2',
      "io:qcow2: -c 'write 60M 3M' a.qcow2",
      'measure -O qcow2 -l early a.qcow2',
      'measure -O qcow2 -l snapshot.name=early a.qcow2',
      'measure -O qcow2 -l nope a.qcow2',
      'measure -O qcow2 -l early r.raw',
    ])
  })

  it('refuses what makes no sense', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 1M',
      'measure',
      'measure a b',
      'measure --size 1G a.qcow2',
      'measure --size 1G -l foo',
      'measure --size 1G -U -f raw',
      'measure --size -1',
      'measure --size 16E',
      'measure --output=foo --size 1',
      'measure --image-opts -f raw a',
      'measure nope.qcow2',
      'measure -O foo --size 1G',
      'measure -O qed --size 1G',
      'measure -O qcow2 -o help --size 1G',
      'measure -O raw -o foo=1 --size 1',
      'measure -O qcow2 -o size=1X --size 1G',
      ...[
        'cluster_size=3',
        'refcount_bits=3',
        'compat=0.10,refcount_bits=8',
        'extended_l2=on,cluster_size=4k',
      ].map((list) => `measure -O qcow2 -o ${list} --size 1G`),
      'measure -O qcow2 -o preallocation=foo --size 1G',
      'measure -O qcow2 -o compat=foo --size 1G',
      'measure -O qcow2 -o cluster_size=512 --size 3T',
    ])
  })
})
