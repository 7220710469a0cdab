/** `rebase` and `dd`, beside QEMU's own. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

const FORMATS = [
  ['qcow2', 'qcow2', ''],
  ['subclusters', 'qcow2', '-o extended_l2=on'],
  ['small clusters', 'qcow2', '-o cluster_size=4k'],
  ['qed', 'qed', ''],
] as const

describe.skipIf(!installed)('rebase, as QEMU 7.2 does it', () => {
  it('refuses command lines that make no sense', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 b 1M',
      'made: create -q -f qcow2 -b b -F qcow2 o',
      'made: create -q r 1M',
      'rebase',
      'rebase a',
      'rebase -b b a c',
      'rebase -b x a',
      'rebase -b x o',
      'rebase -b x -F foo o',
      'rebase -b b o',
      'rebase -u -b b o',
      'rebase -f raw -b b -F qcow2 r',
      `rebase -f raw -b '' r`,
      'rebase -f raw -u r',
      'rebase -t foo -b b -F qcow2 o',
      'rebase -T foo -b b -F qcow2 o',
      'rebase -b o -F qcow2 o',
      'rebase --image-opts -f qcow2 -u -b b -F qcow2 o',
      'rebase --image-opts -u -b b -F qcow2 driver=qcow2,file.filename=o',
      `rebase -u -b ${'x'.repeat(1100)} -F raw o`,
      'rebase -p -q -b b -F qcow2 o',
      'judge: info o',
      'rebase -u o',
      'judge: info o',
    ])
  })

  it.each(FORMATS)('keeps what is shown, and holds what QEMU holds: %s', async (_, format, list) => {
    const create = `made: create -q -f ${format} ${list}`
    await sayTheSame([
      'made: create -q -f qcow2 base 4M',
      "io:qcow2: -c 'write -P 1 0 4M' base",
      'made: create -q -f qcow2 -b base -F qcow2 old 3M',
      "io:qcow2: -c 'write -P 2 1M 130k' -c 'write -z 2M 256k' old",
      'made: create -q -f qcow2 -o cluster_size=4k -b base -F qcow2 new 5M',
      "io:qcow2: -c 'write -P 2 1M 64k' -c 'write -P 3 2M 300k' new",
      'made: create -q -f raw plain 2M',
      "io:raw: -c 'write -P 1 0 1M' plain",
      `${create} -b old -F qcow2 top 4M`,
      `io:${format}: -c 'write -P 9 512k 64k' top`,
      'copy: top other',
      `rebase -f ${format} -b new -F qcow2 top`,
      `judge: compare -f ${format} -F ${format} top other`,
      `judge: info -f ${format} top`,
      `judge: check -q -f ${format} top`,
      `held: -f ${format} top`,
      `rebase -f ${format} -b plain -F raw top`,
      `judge: compare -f ${format} -F ${format} top other`,
      `held: -f ${format} top`,
      `rebase -f ${format} -b '' top`,
      `judge: compare -f ${format} -F ${format} top other`,
      `rebase -f ${format} -b base -F qcow2 top`,
      `judge: compare -f ${format} -F ${format} top other`,
    ])
  })
})

describe.skipIf(!installed)('dd, as QEMU 7.2 does it', () => {
  it('refuses command lines that make no sense', async () => {
    await sayTheSame([
      'dd',
      'dd foo',
      'dd foo=1 if=a of=b',
      'dd bs=0 if=a of=b',
      'dd bs=3G if=a of=b',
      'dd bs=x if=a',
      'dd count=-1 if=a',
      'dd skip=9E if=a of=b',
      'dd if=nonex of=b',
      'dd if=a',
      'made: create -q a 1M',
      'dd -O foo if=a of=b',
      'dd -f raw if=a of=foo:b',
      'dd -f raw -O qed if=a of=/nodir/x',
      'dd if=a of=b -f foo',
      'dd -U -f raw if=a of=b extra',
      'dd -f raw skip=8E if=a of=b',
    ])
  })

  it('copies the blocks that are asked for', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a 3M',
      "io:qcow2: -c 'write -P 1 1 1M' -c 'write -P 2 2M 513' a",
      ...[
        '',
        'bs=1M skip=1',
        'bs=1000 count=1200',
        'bs=1001 skip=11 count=2000',
        'bs=1M skip=4',
        'bs=1M count=1 skip=2',
        'skip=7E',
      ].flatMap((blocks) => [
        `dd -f qcow2 if=a of=b ${blocks}`,
        'judge: info -f raw b',
        'judge: compare -f raw -F qcow2 b a',
        `dd -f qcow2 -O qcow2 if=a of=c ${blocks}`,
        'judge: info c',
        'judge: compare -F raw c b',
      ]),
      'dd --image-opts if=driver=qcow2,file.filename=a of=d',
      'judge: compare -f raw -F qcow2 d a',
    ])
  })
})
