/** The same command lines through QEMU's qemu-img and through ours: every byte that is said must be the same. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame, write } = comparison({ home: process, beforeEach, afterEach, expect })

describe.skipIf(!installed)('as QEMU 7.2 says it', () => {
  it('refuses command lines that make no sense', async () => {
    await sayTheSame([
      '',
      'foo',
      '-Z',
      '--foo',
      '-T',
      '--help=3',
      '-T foo',
      '-T enable=foo create',
      '-- create',
      'create -f',
      'create --foo',
      'create -Z',
      'create -qZ a',
      'create -Zq a',
      'create a b -Zq',
      'create --obj',
      'create --object',
      'check',
      'check -r',
      'check -r foo a',
      'check -T foo a',
      'check --output=foo a',
      'info a b',
      'info a b -f',
      'info --output foo',
      'info --output=foo a',
      'info --f=raw a',
      'info --force-share=1 a',
      'info -- -f',
      'map -s x a',
      'map --start-offset=-1 a',
      'map --max-length=1Z a',
      'map -s 8E a',
      'map -s 16E a',
      'compare a',
      'compare a -Z',
      'compare -T foo a b',
      'resize',
      'resize a',
      'resize a +8M x',
      'resize --foo a 1',
      'resize --preallocation x.qcow2 1',
      'resize --preallocation=foo a 8M',
      'commit',
      'commit -t foo a',
      'commit -r foo a',
      'amend a',
      'amend -o size=1',
      'amend -o , a',
      'amend -t foo -o size=1M a',
    ])
  })

  it('refuses images that cannot be opened', async () => {
    await sayTheSame([
      'made: create -q -f raw b.raw 1M',
      'made: create -q -f qcow2 -u -b gone.qcow2 -F qcow2 g.qcow2 1M',
      'check nonex',
      'info nonex',
      'info -f qcow2 b.raw',
      'info -f foo b.raw',
      'info foo:bar',
      'info /',
      'info .',
      "info ''",
      'info --image-opts -f qcow2 g.qcow2',
      'info --image-opts g.qcow2',
      'info --i g.qcow2',
      'info --image-opts driver=qcow2,file.filename=nonex',
      'info --image-opts driver=qcow2,file.filename=g.qcow2,foo=bar',
      'info -U --image-opts g.qcow2,force-share=off',
      `info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}'`,
      'info --backing-chain g.qcow2',
      'map g.qcow2',
      'check g.qcow2',
      'commit g.qcow2',
      'compare g.qcow2 g.qcow2',
      'compare g.qcow2 nonex',
      'compare nonex g.qcow2',
      'resize nonex 64M',
      'amend -o size=1M nonex',
    ])
  })

  it('names nodes as QEMU does', async () => {
    write('full', new Uint8Array(8192).fill(1))
    write('rules', new TextEncoder().encode('[inject-error]\nevent = "none"\nerrno = "0"\n'))
    await sayTheSame([
      'made: create -q b 64k',
      'made: create -q -f qcow2 q 1M',
      ...[
        'driver=raw,offset=512,file.filename=b',
        'driver=raw,offset=512,size=1024,file.driver=file,file.filename=b',
        'driver=null-co,size=1M,read-zeroes=on',
        'driver=null-co',
        'driver=null-co,latency-ns=1',
        'driver=blkdebug,image.filename=b',
        'driver=blkdebug,config=rules,image.driver=file,image.filename=b',
        'driver=blkdebug,image.driver=raw,image.file.filename=b',
        'driver=blkdebug,image.driver=raw,image.offset=512,image.file.filename=b',
        'driver=blkdebug,config=rules,align=512,image.filename=b',
        'driver=qcow2,file.driver=blkdebug,file.config=rules,file.image.filename=q',
        'driver=qcow2,file.driver=blkdebug,file.align=4096,file.image.filename=q',
        'driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.errno=0,file.image.filename=q',
      ].map((options) => `info --image-opts ${options}`),
      'info -f raw blkdebug:rules:q',
      'info blkdebug::q',
      `info 'json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"b"}}'`,
      'map --output=json --image-opts driver=null-co,size=1M,read-zeroes=on',
      'map --output=json --image-opts driver=null-co,size=1M',
      'map --image-opts driver=raw,file.driver=null-co,file.size=1M',
      'map --output=json --image-opts driver=raw,file.driver=null-co,file.size=1M',
      'map --output=json --image-opts driver=file,filename=full',
      'made: create -q -f qcow2 -b null-co:// -F raw n',
      'map --output=json n',
      'map n',
    ])
  })

  it('says what images are', async () => {
    write('full.raw', new Uint8Array(10_000).fill(7))
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      'made: create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2',
      'made: create -q -f qcow2 -o compat=0.10 old.qcow2 1M',
      'made: create -q -f qcow2 -o extended_l2=on,refcount_bits=1,compression_type=zstd z.qcow2 1M',
      'made: create -q -f qcow2 -b ../a.qcow2 -F qcow2 sub/o.qcow2',
      'made: create -q -f qcow2 -o data_file=df.raw df.qcow2 1M',
      'remove: df.raw',
      ...['a', 'b', 'old', 'z', 'sub/o', 'df'].flatMap((name) => [
        `info ${name}.qcow2`,
        `info --output=json ${name}.qcow2`,
        `info --backing-chain ${name}.qcow2`,
        `info --backing-chain --output=json ${name}.qcow2`,
      ]),
      'info full.raw',
      'info --output=json full.raw',
      'info file:a.qcow2',
      'info blkdebug::a.qcow2',
      'info null-co://',
      'info --image-opts driver=qcow2,file.filename=a.qcow2',
      `info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"b.qcow2"}}'`,
      'check df.qcow2',
    ])
  })

  it('finds the end of a chain that has none', async () => {
    await sayTheSame([
      'create -q -f qcow2 -u -b loop2.qcow2 -F qcow2 loop.qcow2 1M',
      'create -q -f qcow2 -u -b loop.qcow2 -F qcow2 loop2.qcow2 1M',
      'info --backing-chain loop.qcow2',
    ])
  })

  it('checks images that are as they should be', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      "io:qcow2: -c 'write -P 1 0 3M' -c 'write -c 4M 64k' a.qcow2",
      'check a.qcow2',
      'check --output=json a.qcow2',
      'check -q a.qcow2',
      'check -r all a.qcow2',
      'check -rleaks a.qcow2',
      'check --rep all a.qcow2',
      'check -T none a.qcow2',
      'check -U a.qcow2',
      'check -U -r all a.qcow2',
      'made: create -q b.raw 1M',
      'check b.raw',
      'check -f raw b.raw',
    ])
  })

  it('checks and repairs images that were left dirty', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 -o lazy_refcounts=on l.qcow2 64M',
      "io:qcow2: -c 'write -P 1 0 3M' -c flush -c 'sigraise 9' l.qcow2",
      ...[1, 2, 3, 4, 5].map((copy) => `copy: l.qcow2 l${copy}.qcow2`),
      'check l.qcow2',
      'check --output=json l.qcow2',
      'info l.qcow2',
      'info --output=json l.qcow2',
      'check -r leaks l.qcow2',
      'check -r all l.qcow2',
      'check l.qcow2',
      'check -r all --output=json l1.qcow2',
      'check -q -r all l2.qcow2',
      'resize l3.qcow2 128M',
      'check l3.qcow2',
      'amend -o lazy_refcounts=off l4.qcow2',
      'info l4.qcow2',
      'judge: check l4.qcow2',
    ])
  })

  it('maps chains, holes and compressed clusters', async () => {
    write('full.raw', new Uint8Array(10_000).fill(7))
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      'made: create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2',
      'made: create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2 100M',
      "io:qcow2: -c 'write -P 1 0 3M' -c 'write -P 3 63M 1M' a.qcow2",
      "io:qcow2: -c 'write -P 2 1M 64k' -c 'write -z 8M 64k' -c 'write -z 2M 64k' b.qcow2",
      "io:qcow2: -c 'write -P 4 90M 1M' c.qcow2",
      ...['a', 'b', 'c'].flatMap((name) => [`map ${name}.qcow2`, `map --output=json ${name}.qcow2`]),
      'map -s 1M -l 64k --output=json b.qcow2',
      'map --m=3 b.qcow2',
      'map -s 100M -l 64k --output=json b.qcow2',
      'map -s 100M b.qcow2',
      'map -l 0 --output=json b.qcow2',
      "io:qcow2: -c 'write -c 4M 64k' a.qcow2",
      'map b.qcow2',
      'map --output=json b.qcow2',
      'made: create -q e.raw 0',
      'map --output=json e.raw',
      'map e.raw',
      'map full.raw',
      'map --output=json full.raw',
      'map --output=json blkdebug::full.raw',
      'map --image-opts driver=raw,offset=512,size=4096,file.filename=full.raw',
      'made: create -q -f qcow2 -o data_file=df.raw,preallocation=full df.qcow2 1M',
      'map df.qcow2',
      'map --output=json df.qcow2',
    ])
  })

  it('compares disks', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      'made: create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2',
      'made: create -q -f qcow2 s.qcow2 1M',
      'made: create -q z1 1M',
      'made: create -q -f qcow2 z2 2M',
      "io:qcow2: -c 'write -P 1 0 3M' -c 'write -P 3 63M 1M' a.qcow2",
      'compare a.qcow2 b.qcow2',
      'compare -s a.qcow2 b.qcow2',
      "io:qcow2: -c 'write -P 1 1M 1M' b.qcow2",
      'compare a.qcow2 b.qcow2',
      'compare -s a.qcow2 b.qcow2',
      "io:qcow2: -c 'write -P 2 1234567 1' b.qcow2",
      'compare a.qcow2 b.qcow2',
      'compare -s a.qcow2 b.qcow2',
      'compare -p a.qcow2 b.qcow2',
      'compare -p a.qcow2 s.qcow2',
      'compare -q a.qcow2 s.qcow2',
      'compare -q -p a.qcow2 s.qcow2',
      'compare -f raw s.qcow2 a.qcow2',
      'compare -s s.qcow2 a.qcow2',
      'compare z1 z2',
      'compare -p z1 z2',
      'compare z2 z1',
      'compare -f raw -F qcow2 z1 z2',
      "io:qcow2: -c 'write -P 1 1M 512' z2",
      'compare z2 z1',
      'compare -s z2 z1',
      "io:qcow2: -c 'write -P 1 1000 1' z2",
      'compare z2 z1',
      'compare z1 z2',
    ])
  })

  it('resizes disks', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      ...['128M', '+1M', '-1M', '0', '++1', '+-1', '1k1', "''", '8E', '16E'].map(
        (size) => `resize a.qcow2 ${size}`,
      ),
      'resize --shrink a.qcow2 -1M',
      'resize --shrink a.qcow2 -1T',
      'resize --preallocation=full a.qcow2 8M',
      'resize --preallocation=metadata a.qcow2 +8M',
      'resize -q a.qcow2 +8M',
      'resize --shrink -f qcow2 a.qcow2 64M',
      'judge: check a.qcow2',
      'made: create -q e.raw 0',
      'resize e.raw 1M',
      'resize e.raw 1000',
      'resize --shrink -f raw e.raw 1000',
      'resize -f raw e.raw 1001',
      'resize --image-opts driver=raw,file.filename=e.raw 5000',
      'resize -f raw e.raw --foo',
      'resize -f raw --shr e.raw 1',
      'judge: info e.raw',
    ])
  })

  it('commits overlays', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 s.qcow2 1M',
      'commit s.qcow2',
      'commit -p s.qcow2',
      'made: create -q -f qcow2 a.qcow2 1M',
      'made: create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2 2M',
      'made: create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2',
      'made: create -q -f qcow2 -b ../b.qcow2 -F qcow2 sub/d.qcow2',
      "io:qcow2: -c 'write -P 1 0 1M' a.qcow2",
      "io:qcow2: -c 'write -P 2 512k 1M' b.qcow2",
      "io:qcow2: -c 'write -P 3 0 64k' c.qcow2",
      "io:qcow2: -c 'write -P 4 64k 64k' sub/d.qcow2",
      'commit -b foo b.qcow2',
      'commit -d b.qcow2',
      'judge: compare a.qcow2 b.qcow2',
      'commit b.qcow2',
      'commit -q b.qcow2',
      'map --output=json b.qcow2',
      'commit -b a.qcow2 c.qcow2',
      'map --output=json c.qcow2',
      'judge: map --output=json a.qcow2',
      'commit -b b.qcow2 sub/d.qcow2',
      'commit -b sub/../b.qcow2 sub/d.qcow2',
      'commit -b ../a.qcow2 sub/d.qcow2',
      'commit -b ../b.qcow2 sub/d.qcow2',
      ...['a', 'b', 'c', 'sub/d'].map((name) => `judge: check -q ${name}.qcow2`),
      'made: create -q p.raw 1M',
      'commit p.raw',
    ])
  })

  it('amends images', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a.qcow2 64M',
      'amend -o compat=0.10,lazy_refcounts=on a.qcow2',
      'amend -o lazy_refcounts=on a.qcow2',
      'judge: info --output=json a.qcow2',
      'amend -o cluster_size=64k a.qcow2',
      'amend -o foo=64k a.qcow2',
      'amend -p -o compat=0.10 a.qcow2',
      'judge: info --output=json a.qcow2',
      'amend -o backing_file=x a.qcow2',
      'amend -p -o lazy_refcounts=off a.qcow2',
      'amend -p -o compat=1.1,lazy_refcounts=on a.qcow2',
      'amend -p -o lazy_refcounts=off a.qcow2',
      'amend -p -o compat=5 a.qcow2',
      'amend -p -o refcount_bits=16,data_file_raw=off a.qcow2',
      'amend -p -o size=70M,compat=0.10 a.qcow2',
      'amend -o data_file=x a.qcow2',
      'amend -o data_file_raw=on a.qcow2',
      'amend -o refcount_bits=3 a.qcow2',
      'amend -o encrypt.keyslot=0 a.qcow2',
      'amend -o encryption=off a.qcow2',
      'made: create -q -f qcow2 -o cluster_size=512 many.qcow2 64M',
      'amend -p -o compat=0.10 many.qcow2',
      'amend -o size=8x a.qcow2',
      'amend -o size=80M a.qcow2',
      'amend -o lazy_refcounts=foo a.qcow2',
      'amend -o lazy_refcounts=on a.qcow2',
      'amend -o compat=1.1 a.qcow2',
      'amend -o compat=7 a.qcow2',
      'judge: info --output=json a.qcow2',
      'judge: check a.qcow2',
      'made: create -q b.raw 1M',
      'amend -o size=1M -f raw b.raw',
      'amend -o size=1M b.raw',
    ])
  })
})
