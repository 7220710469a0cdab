/** `snapshot` and `convert -l` beside QEMU's: what they print, and what is in the images afterwards. */
import fs from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame, write } = comparison({ home: process, beforeEach, afterEach, expect })

/** Bytes of the header, and of the snapshot table's first entry, in a small image. */
const poked = (name: string, at: number, bytes: readonly number[]): Uint8Array => {
  const image = new Uint8Array(fs.readFileSync(name))
  image.set(bytes, at)
  return image
}

describe.skipIf(!installed)('snapshot', () => {
  test('is called with one action and one image', () =>
    sayTheSame([
      'create -f qcow2 a.qcow2 1M',
      'snapshot',
      'snapshot a.qcow2',
      'snapshot -l a.qcow2 b.qcow2',
      'snapshot -l -c x a.qcow2',
      'snapshot -a x -d x a.qcow2',
      'snapshot -l -l a.qcow2',
      'snapshot -c x -c y a.qcow2',
      'snapshot -l nope.qcow2',
      'snapshot -U -c x a.qcow2',
      'snapshot -l --image-opts driver=qcow2,file.filename=a.qcow2',
      'snapshot -c x --image-opts driver=qcow2,file.filename=a.qcow2',
      'snapshot -U -l a.qcow2',
      'snapshot -q -l a.qcow2',
    ]))

  test.each(['', '-o compat=0.10', '-o lazy_refcounts=on', '-o cluster_size=512', '-o extended_l2=on'])(
    'makes, applies, deletes and lists (%s)',
    (options) =>
      sayTheSame([
        `create -f qcow2 ${options} a.qcow2 1M`,
        "io:qcow2: -c 'write -P 1 0 300k' a.qcow2",
        'snapshot -c one a.qcow2',
        'snapshot -l a.qcow2',
        "io:qcow2: -c 'write -P 2 100k 400k' a.qcow2",
        'snapshot -c two a.qcow2',
        'snapshot -c one a.qcow2',
        'info a.qcow2',
        'judge: check a.qcow2',
        'judge: snapshot -l a.qcow2',
        'convert -l one -O raw a.qcow2 one.raw',
        'convert -l snapshot.id=2 -O raw a.qcow2 two.raw',
        'convert -l snapshot.id=3,snapshot.name=one -O raw a.qcow2 three.raw',
        'judge: compare -f qcow2 -F raw a.qcow2 two.raw',
        'snapshot -a one a.qcow2',
        'judge: compare -f qcow2 -F raw a.qcow2 one.raw',
        'judge: check a.qcow2',
        'held: a.qcow2',
        'snapshot -d one a.qcow2',
        'snapshot -l a.qcow2',
        'judge: check a.qcow2',
        'snapshot -a 2 a.qcow2',
        'judge: compare -f qcow2 -F raw a.qcow2 two.raw',
        'snapshot -d two a.qcow2',
        'snapshot -d one a.qcow2',
        'snapshot -d one a.qcow2',
        'snapshot -a 1 a.qcow2',
        'judge: check a.qcow2',
        'info a.qcow2',
      ]),
  )

  test('takes an ID before a name to apply, and only a name to delete', () =>
    sayTheSame([
      'create -f qcow2 a.qcow2 64k',
      "io:qcow2: -c 'write -P 1 0 64k' a.qcow2",
      'snapshot -c one a.qcow2',
      "io:qcow2: -c 'write -P 2 0 64k' a.qcow2",
      'snapshot -c one a.qcow2',
      "io:qcow2: -c 'write -P 3 0 64k' a.qcow2",
      'snapshot -c 1 a.qcow2',
      "snapshot -c '' a.qcow2",
      `snapshot -c ${'n'.repeat(300)} a.qcow2`,
      'snapshot -a 1 a.qcow2',
      'convert -l 1 -O raw a.qcow2 one.raw',
      'judge: compare -f qcow2 -F raw a.qcow2 one.raw',
      'snapshot -d 1 a.qcow2',
      'snapshot -l a.qcow2',
      'judge: snapshot -l a.qcow2',
      `snapshot -d ${'n'.repeat(300)} a.qcow2`,
      `snapshot -d ${'n'.repeat(255)} a.qcow2`,
      "snapshot -d '' a.qcow2",
      'snapshot -d one a.qcow2',
      'judge: snapshot -l a.qcow2',
      'check -q a.qcow2',
      'judge: check -q a.qcow2',
    ]))

  test('brings the size back', () =>
    sayTheSame([
      'create -f qcow2 a.qcow2 1M',
      "io:qcow2: -c 'write -P 1 0 1M' a.qcow2",
      'snapshot -c small a.qcow2',
      'resize a.qcow2 700M',
      "io:qcow2: -c 'write -P 2 600M 1M' a.qcow2",
      'snapshot -c large a.qcow2',
      'snapshot -a small a.qcow2',
      'info a.qcow2',
      'judge: check a.qcow2',
      'snapshot -a large a.qcow2',
      'judge: info a.qcow2',
      'judge: map a.qcow2',
      'judge: check a.qcow2',
    ]))

  test('refuses what cannot be done', async () => {
    await sayTheSame([
      'create -f raw a.raw 1M',
      'snapshot -l a.raw',
      'snapshot -c x --image-opts driver=raw,file.filename=a.raw',
      'snapshot -a x --image-opts driver=raw,file.filename=a.raw',
      'snapshot -d x --image-opts driver=raw,file.filename=a.raw',
      'convert -f raw -l x a.raw b.raw',
      'create -f qcow2 -o data_file=d.raw d.qcow2 1M',
      'snapshot -c x d.qcow2',
      'snapshot -a x d.qcow2',
      'snapshot -d x d.qcow2',
      'create -f qcow2 -o refcount_bits=1 n.qcow2 1M',
      "io:qcow2: -c 'write 0 64k' n.qcow2",
      'snapshot -c x n.qcow2',
      'create -f qcow2 -o compat=0.10 v2.qcow2 1M',
      'snapshot -c x v2.qcow2',
      'resize v2.qcow2 2M',
      'create -f qcow2 a.qcow2 1M',
      'snapshot -c x a.qcow2',
      'snapshot -a nope a.qcow2',
      'snapshot -d nope a.qcow2',
      'convert -l nope a.qcow2 b.raw',
      "convert -l '' a.qcow2 b.raw",
      'convert -l x a.qcow2 a.qcow2 b.raw',
      'convert -l snapshot.name=x a.qcow2 a.qcow2 b.raw',
      'convert -l nope -l snapshot.id=1 a.qcow2 b.raw',
      'convert -l snapshot.id=1 -l nope a.qcow2 b.raw',
      'convert -l snapshot.name= a.qcow2 b.raw',
      'convert -s x a.qcow2 b.raw',
    ])
    // A version 2 image of another size than its snapshot, and a snapshot whose L1 table is not aligned.
    write('sized.qcow2', poked('v2.qcow2', 29, [0x20]))
    const table = Buffer.from(fs.readFileSync('a.qcow2')).readUInt32BE(68)
    write('bad.qcow2', poked('a.qcow2', table + 7, [0x39]))
    await sayTheSame([
      'snapshot -a x sized.qcow2',
      'snapshot -a x bad.qcow2',
      'snapshot -d x bad.qcow2',
      'convert -l x bad.qcow2 b.raw',
      'snapshot -l bad.qcow2',
    ])
  })
})
