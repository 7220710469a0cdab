/** New images, created by QEMU's qemu-img and by ours: the output and the files must be the same. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

describe.skipIf(!installed)('new images', () => {
  it('makes raw images', async () => {
    await sayTheSame([
      'create b.raw',
      'create b.raw 1M',
      'create -f raw -o preallocation=full b.raw 1M',
      'create -f raw -o preallocation=falloc b.raw 1M',
      'create -f raw -o preallocation=off b.raw 1M',
      'create -f raw -o preallocation=foo b.raw 1M',
      'create -f raw -o preallocation=metadata b.raw 1M',
      'create -f raw -o size=2M b.raw 1M',
      'create -f raw -o size=2M b.raw',
      'create -f raw -b a.qcow2 -F qcow2 b.raw',
      'create -f raw -F qcow2 b.raw 1M',
      'create -f raw b.raw 1M x',
      'create b.raw -1',
      'judge: info --output=json b.raw',
      'create -f raw -o nocow=off,extent_size_hint=1,preallocation=full b.raw 1M',
      'create -f raw -o extent_size_hint=5G b.raw 1M',
      'create -f raw -o extent_size_hint=x b.raw 1M',
      'create -f raw -o nocow=x b.raw 1M',
      'create -f raw -o nocow=on c.raw 1M',
      'create -f qcow2 -o nocow=on c.qcow2 1M',
      'create -f raw -o help /dev/null',
      'create -f raw /dev/null 1M',
      'create -f raw /dev/null 0',
      'create -f raw -o preallocation=full /dev/null 0',
      'create -f raw -o nocow=on /dev/null 0',
    ])
  })

  it('explains the options of a new image', async () => {
    await sayTheSame(
      ['raw', 'qcow2', 'qed'].flatMap((format) => [
        `create -f ${format} -o help`,
        `create -f ${format} -o help x`,
      ]),
    )
    await sayTheSame(['amend -f qcow2 -o help', 'create -o help null-co://'])
  })

  it.each([
    ...[
      '1X',
      '8E',
      '9999P',
      '7E',
      '1.5E',
      '1.5k',
      '0x10k',
      '0x10',
      '1.k',
      '.5k',
      '1e3',
      '1b',
      "' 1'",
      "'1 '",
    ],
    ...['+5', '-- -1', '1000', '0'],
  ])('reads the size %s', async (size) => {
    await sayTheSame([`create x.raw ${size}`])
  })

  it('makes qcow2 images', async () => {
    await sayTheSame([
      'create -f qcow2',
      'create -f qcow2 a.qcow2 64M',
      'judge: info --output=json a.qcow2',
      'create -f qcow2 -o lazy_refcounts=on,compat=1.1,refcount_bits=8 a.qcow2 64M',
      'judge: info --output=json a.qcow2',
      'create -f qcow2 -o data_file=d.raw,data_file_raw=on,preallocation=metadata a.qcow2 1M',
      'judge: info --output=json a.qcow2',
      'create -f qcow2 -o extended_l2=on,compression_type=zstd,cluster_size=128k a.qcow2 1M',
      'judge: info --output=json a.qcow2',
      'create -f qcow2 -o preallocation=metadata -o cluster_size=4k a.qcow2 1M',
      'judge: check a.qcow2',
      'create -f qcow2 -o compat=0.10 a.qcow2 1M',
      'judge: info --output=json a.qcow2',
      'create -f qcow2 x.qcow2 1000',
      'create -fqcow2 -q x.qcow2 1M',
      'create -f qcow2 -o lazy_refcounts x.qcow2 1M',
      'create -f qcow2 -o nolazy_refcounts x.qcow2 1M',
      'create -f qcow2 -o lazy_refcounts=yes,cluster_size=64k x.qcow2 1M',
      'create -f qcow2 -o refcount_bits=0x10 x.qcow2 1M',
      'create -f qcow2 -o id=foo,size=1M x.qcow2',
      'create -f qcow2 -o size=1M,cluster_size=64k,cluster_size=128k -o cluster_size=4k b.qcow2',
      'create -f qcow2 -o extent_size_hint=1M,nocow=off,preallocation=off x.qcow2 1M',
      'create -f qcow2 -o encryption=off x.qcow2 1M',
      'create -f qed -o preallocation=full,nocow=off x.qed 1M',
      'create -f qcow2 --object secret,id=a,data=b x.qcow2 1M',
      'create -f qcow2 --object secret,id=a x.qcow2 1M',
      'create -f qcow2 --object secret,id=a,file=none x.qcow2 1M',
      'create -f qcow2 --object foo,id=a x.qcow2 1M',
      'create -f qcow2 file:xx 1M',
      'judge: info xx',
    ])
  })

  it.each([
    'foo=bar',
    'foo',
    ',a',
    'a,',
    "''",
    'cluster_size=3',
    'cluster_size=foo',
    'cluster_size=99999999999999999999',
    'cluster_size=4k,extended_l2=on',
    'lazy_refcounts=1',
    'refcount_bits=x',
    'refcount_bits=7',
    'refcount_bits=99999999999999999999',
    'compat=7',
    'compat=0.10,lazy_refcounts=on',
    'compat=0.10,data_file=dd.raw',
    'preallocation=foo',
    'extent_size_hint=4G',
    'encryption=x',
    'encrypt.iter-time=x',
    'compression_type=foo',
    'data_file_raw=on',
    'cluster_size=512,size=1P',
    'size=1M',
  ])('refuses to make a qcow2 image with %s', async (list) => {
    await sayTheSame([`create -f qcow2 -o ${list} b.qcow2 1M`, 'judge: info b.qcow2'])
  })

  it('looks at the backing file of a new image', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      'create -f qcow2 -b a.qcow2 b.qcow2',
      'create -f qcow2 -F qcow2 -b a.qcow2 b.qcow2',
      'create -f qcow2 -F qcow2 -b a.qcow2 b.qcow2 2M',
      'create -f qcow2 -u -b none.qcow2 b.qcow2 2M',
      'create -f qcow2 -u -F qcow2 -b none.qcow2 b.qcow2 2M',
      'create -f qcow2 -u -F qcow2 -b none.qcow2 b.qcow2',
      'create -f qcow2 -F qcow2 -b none.qcow2 b.qcow2',
      'create -f qcow2 -F raw -b a,b.qcow2 b.qcow2',
      'create -f qcow2 -F foo -b a.qcow2 b.qcow2',
      'create -f qcow2 -o backing_file=a.qcow2,,x,backing_fmt=raw b.qcow2 1M',
      'create -f qcow2 a.qcow2 -b a.qcow2 -F qcow2',
      "create -f qcow2 a.qcow2 -b '' -F qcow2",
      'create -f qcow2 -b ../a.qcow2 -F qcow2 sub/o.qcow2',
      'judge: info sub/o.qcow2',
      'create -f qcow2 -b file:a.qcow2 -F qcow2 ff.qcow2',
      `create -f qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}' -F qcow2 ff.qcow2`,
    ])
  })

  it('refuses files and formats that cannot be made', async () => {
    await sayTheSame([
      'create -f foo b.raw 1M',
      'create -f null-co x 1M',
      'create -f blkdebug x 1M',
      'create -f qcow2 null-co:// 1M',
      'create -f qcow2 foo:a.qcow2 1M',
      'create -f qcow2 json:{} 1M',
      'create -f qcow2 /nonexistent/a.qcow2 1M',
      'create sub 1M',
      'create -f foo -o help',
      'amend -f raw -o help',
      'amend -f foo -o help',
    ])
  })
})
