/** `convert` compared with QEMU's: the output, and the images, with their content and its location. */
import { existsSync, statSync } from 'node:fs'
import { createRandom } from '@vmblock/block-core/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison, runOurs } from './testing/two-programs.ts'

const { installed, sayTheSame, write } = comparison({ home: process, beforeEach, afterEach, expect })

/** One seed in a plain run; `test:long` takes more. */
const SEEDS = Array.from(
  { length: Number(process.env['CONVERT_SEEDS'] ?? 1) },
  (_, index) => Number(process.env['CONVERT_SEED'] ?? 1) + index,
)

const SILENT = { out: '', err: '', status: 0 }

/** The results of both programs under these names must be the same. */
const judged = (...names: string[]): string[] =>
  names.flatMap((name) => [`judge: map --output=json ${name}`, `judge: info ${name}`])

describe.skipIf(!installed)('convert as QEMU 7.2 does it', () => {
  it('refuses command lines that make no sense', async () => {
    write('a', new Uint8Array(4096).fill(1))
    await sayTheSame([
      'made: create -q -f qcow2 q 1M',
      ...[
        '',
        'a',
        '-Z a b',
        '-6 a b',
        '-s x a b',
        '-S x a b',
        '-S 1000 a b',
        '-S -1 a b',
        '-S 17M a b',
        '-m 0 a b',
        '-m 17 a b',
        '-m x a b',
        '-m 08 a b',
        '-r x a b',
        '-r -1 a b',
        '-o , a b',
        '-l snapshot.foo=x a b',
        '-l snapshot. a b',
        '-c -C -O qcow2 a b',
        '-C -S 4k a b',
        '-C --salvage a b',
        '--target-image-opts a driver=raw,file.filename=b',
        '-n -o x a b',
        '-n -o help a b',
        '--target-is-zero a b',
        '--skip-broken-bitmaps a b',
        '-T foo a b',
        '-p -T foo a b',
        '-p -t foo a b',
        '-p nonex b',
        '-p -O foo a b',
        '-f foo a b',
        '-f qcow2 a b',
        'a foo:bar',
        'a json:{}',
        'a null-co://',
        'a nodir/b',
        '-O blkdebug a b',
        '-O null-co a b',
        "-O '' a b",
        "'' b",
        '--image-opts -f raw driver=raw,file.filename=a b',
        '--target-image-opts -n -O raw a driver=raw,file.filename=b',
        '--target-image-opts -n a driver=qcow2',
        '--target-image-opts -n a driver=raw,file.filename=nonex',
        '-n a nonex',
        '-n q a',
        '-n --bitmaps a b',
        '-n -B x a a b',
        '-l x a b',
        '-l snapshot.id=x a b',
        '-l snapshot.name=x,snapshot.id=1 a b',
        '-l x a a b',
        '-c a b',
        '-c -n a q',
        '-n a a',
        '-n q q',
        '-O qcow2 -o foo=1 a b',
        '-O qcow2 -o cluster_size=3 a b',
        '-O qcow2 -o preallocation=foo a b',
        '-O qcow2 -o size=x a b',
        '-O qcow2 -B q a b',
        '-O qcow2 -o backing_file=q a b',
        '-O qcow2 -F qcow2 a b',
        '-O qcow2 -B q -F qcow2 a a b',
        '-O qcow2 -B nonex -F qcow2 a b',
        '-B q -F qcow2 a b',
        '-F raw a b',
        'a a',
        '-O qcow2 a a',
      ].map((words) => `convert ${words}`),
    ])
  })

  it('explains the options of new images', async () => {
    await sayTheSame([
      'convert -o help',
      'convert -O raw -o help a b',
      'convert -O foo -o help',
      'convert -O qcow2 -o help a b',
    ])
  })

  it('copies between formats, with progress', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 q 5M',
      "io:qcow2: -c 'write -P 1 0 3M' -c 'write -P 2 3500k 1k' -c 'write -z 4M 64k' q",
      'made: create -q -f qcow2 e 5M',
      'made: create -q z 0',
      'convert -p q b1',
      'convert -p -O qcow2 q b2',
      'convert -p -q -O qcow2 -o cluster_size=4k,size=1M q b3',
      'convert -p -S 0 -O qcow2 q b4',
      'convert -p -S 0 q b5',
      'convert -p -S 0 -O qcow2 e b6',
      'convert -p -O qcow2 e b7',
      'convert -p z b8',
      'convert -p -O qcow2 z b9',
      'convert -p q q b10',
      'convert -p -W -m 16 -O qcow2 q b11',
      'convert -m 1 -t none -T none -O qcow2 q b12',
      'convert -r 100G -t writethrough q b13',
      'convert -O qcow2 -o preallocation=metadata q b14',
      'convert -O qcow2 -o preallocation=full,lazy_refcounts=on q b15',
      'convert -O qcow2 -o compat=0.10 q b16',
      'convert -O qed q b17',
      'convert -C q b18',
      'convert -U --image-opts driver=qcow2,file.filename=q b19',
      'convert -r 1G q b20',
      // QED's layout and that of out-of-order writes may differ; the result of -C depends on the host.
      ...judged(...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 19, 20].map((index) => `b${index}`)),
      ...['held: b11', 'held: b17'],
      ...[1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20].map((index) => `judge: compare q b${index}`),
      ...['b2', 'b11', 'b14', 'b15', 'b17'].map((name) => `judge: check -q ${name}`),
    ])
  })

  it('takes whole sectors of disks of any length', async () => {
    write(
      'odd',
      Uint8Array.from({ length: 1000 }, (_, index) => index),
    )
    write('even', new Uint8Array(70_000).fill(3))
    await sayTheSame([
      'convert -f raw odd a',
      'convert -f raw -O qcow2 odd b',
      'convert -f raw odd even odd c',
      'convert -f raw -O qcow2 -W odd even odd d',
      'judge: compare c d',
      'convert -f raw -t directsync odd e',
      ...judged('a', 'b', 'c', 'e'),
      'held: d',
    ])
  })

  it('leaves what lies beneath to the backing file', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 base 1M',
      'made: create -q -f qcow2 larger 4M',
      'made: create -q -f qcow2 -b base -F qcow2 o 3M',
      'made: create -q -f qcow2 -b o -F qcow2 oo 3M',
      "io:qcow2: -c 'write -P 1 0 1M' base",
      "io:qcow2: -c 'write -P 2 0 4M' larger",
      "io:qcow2: -c 'write -P 3 128k 64k' -c 'write -z 256k 64k' -c 'write -z 2M 64k' -c 'write -P 0 512k 64k' o",
      "io:qcow2: -c 'write -P 4 192k 64k' oo",
      'convert -O qcow2 -B base -F qcow2 o b1',
      'convert -O qcow2 -o backing_file=base,backing_fmt=qcow2 o b2',
      'convert -O qcow2 -B o -F qcow2 oo b4',
      'convert -O qcow2 -B base -F qcow2 -S 0 o b5',
      'convert -O qcow2 -B larger -F qcow2 base b6',
      'convert -O qcow2 oo b7',
      'made: create -q -f qcow2 -b base -F qcow2 b8 3M',
      'convert -n -O qcow2 -B base o b8',
      'made: create -q -f qcow2 b9 3M',
      'convert -n -O qcow2 o b9',
      ...judged('b1', 'b2', 'b4', 'b5', 'b6', 'b7', 'b9'),
      ...['b1', 'b2', 'b5', 'b8', 'b9'].map((name) => `judge: compare o ${name}`),
      'judge: compare oo b4',
      'judge: compare oo b7',
      'judge: compare base b6',
    ])
  })

  it('writes into images that are there', async () => {
    write('full', new Uint8Array(2 ** 20).fill(9))
    await sayTheSame([
      'made: create -q -f qcow2 q 1M',
      "io:qcow2: -c 'write -P 1 64k 64k' -c 'write -P 2 256k 10k' q",
      ...[1, 2, 3, 4].map((index) => `copy: full b${index}`),
      'convert -p -n q b1',
      'convert -n -S 0 q b2',
      'convert -n --target-is-zero q b3',
      'convert -n --target-image-opts q driver=raw,offset=0,file.filename=b4',
      'convert -n q null-co://',
      'made: create -q -f qcow2 b5 2M',
      "io:qcow2: -c 'write -P 8 0 2M' b5",
      'convert -n -O qcow2 q b5',
      'judge: compare q b1',
      'judge: compare q b2',
      'judge: compare full b3',
      'judge: compare q b4',
      'judge: compare q b5',
      'judge: map --output=json b5',
    ])
  })

  it('tells what cannot be read or written, or does without it', async () => {
    const rules = (event: string, errno: number, more: string): Uint8Array =>
      new TextEncoder().encode(
        `[inject-error]\nevent = "${event}"\nerrno = "${errno}"\nonce = "off"\n${more}\n`,
      )
    write('a', new Uint8Array(1_024_000).fill(7))
    write('full', new Uint8Array(1_024_000).fill(9))
    write('reads', rules('read_aio', 5, 'sector = "10"\nimmediately = "on"'))
    write('writes', rules('write_aio', 28, ''))
    write('status', rules('none', 5, 'iotype = "block-status"'))
    await sayTheSame([
      'convert -p -f raw blkdebug:reads:a b',
      'convert -p -f raw --salvage blkdebug:reads:a b1',
      'convert -q -p -f raw --salvage blkdebug:reads:a b2',
      'convert -f raw --salvage -O qcow2 a blkdebug:reads:a b3',
      'convert -p -n -f raw a blkdebug:writes:full',
      'convert -f raw blkdebug:status:a b4',
      'judge: compare b1 b2',
      ...judged('b1', 'b3'),
    ])
  })

  it.each(SEEDS)('finds the same zeroes (%d)', async (seed) => {
    const random = createRandom(seed)
    const bytes = new Uint8Array(1_500_000)
    for (let at = 0; at < bytes.length; ) {
      const length = 512 * random.int(1, 2 ** random.int(1, 9))
      // Some sectors have their first byte set, some their last.
      if (random.chance(0.5)) bytes.fill(random.int(1, 256), at + random.int(0, 2) * 511, at + length)
      at += length
    }
    write('a', bytes)
    const kinds = ['-O raw', '-O qcow2', '-O qcow2 -o cluster_size=512']
    const sizes = ['512', '1k', '4k', '12k', '64k', '2M', '0']
    const lines = sizes.flatMap((size) => kinds.map((kind) => [size, kind] as const))
    await sayTheSame([
      ...lines.map(([size, kind], index) => `convert -f raw -S ${size} ${kind} a b${index}`),
      ...lines.flatMap(([, kind], index) => [
        kind.includes('raw') ? `judge: map --output=json b${index}` : `held: b${index}`,
        `judge: compare -f raw a b${index}`,
      ]),
    ])
  })
})

describe.skipIf(!installed)('convert where QEMU 7.2 goes wrong', () => {
  const ours = async (...words: string[]) => runOurs(['convert', ...words])

  it('keeps what is zero beyond the end of the backing file, over a larger one', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 base 1M',
      'made: create -q -f qcow2 larger 4M',
      'made: create -q -f qcow2 -b base -F qcow2 o 3M',
      "io:qcow2: -c 'write -P 2 0 4M' larger",
    ])
    const runs = async () => {
      expect(await ours('-O', 'qcow2', '-B', 'larger', '-F', 'qcow2', 'o', 'b')).toEqual(SILENT)
      const { out } = await runOurs(['map', '--output=json', 'b'])
      return (JSON.parse(out) as { start: number; depth: number; zero: boolean }[]).map(
        ({ start, depth, zero }) => [start / 2 ** 20, depth, zero],
      )
    }
    // In QEMU's result all content of the larger file shows through.
    expect(await runs()).toEqual([[0, 0, true]])
    await sayTheSame(["io:qcow2: -c 'write -P 2 0 1M' base"])
    // In QEMU's result the content of the larger file shows through from 1 MiB on.
    expect(await runs()).toEqual([
      [0, 1, false],
      [1, 0, true],
    ])
  })

  it('fails where it says that it does', async () => {
    await sayTheSame(['made: create -q -f qcow2 a 1M', 'made: create -q b 1M'])
    expect(await ours('-n', '--target-is-zero', '-B', 'x', 'a', 'b')).toEqual({
      out: '',
      err: 'qemu-img: Cannot use --target-is-zero when the destination image has a backing file\n',
      status: 1,
    })
    expect(await ours('-O', 'qcow2', '-B', '', '-F', 'raw', 'a', 'c')).toMatchObject({
      err: 'qemu-img: Expected backing file name, got empty string\n',
      status: 1,
    })
  })

  it('compresses, and refuses what cannot be', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a 1000K',
      "io:qcow2: -c 'write -P 5 0 300k' -c 'write -P 7 700k 64k' -c 'write -P 9 980k 20k' a",
      'convert -c -O qcow2 a c',
      'judge: map --output=json c',
      'judge: check c',
      'compare a c',
      'judge: compare a c',
      'info c',
      'convert -c -O qcow2 -o compression_type=zstd a z',
      'judge: compare a z',
      'judge: check z',
      'info z',
      'convert -c -W -m 4 -O qcow2 -o cluster_size=4k a s',
      'judge: compare a s',
      'judge: map --output=json s',
      'convert -c -O qcow2 -o extended_l2=on,cluster_size=128k -S 0 a e',
      'judge: compare a e',
      'convert -c -O qcow2 -B a -F qcow2 z o',
      'judge: compare a o',
      'convert -O raw z z.raw',
      'judge: compare -f qcow2 -F raw a z.raw',
      'convert -c -n -O qcow2 a c',
      'convert -c -O qed a x',
      'convert -c -O raw a x',
      'convert -c -O qcow2 -o preallocation=metadata a x',
      'convert -c -O qcow2 -o encryption=on a x',
      'convert -c -O qcow2 -o encrypt.format=luks a x',
      'convert -c -O qcow2 -o compat=0.10,compression_type=zstd a x',
      'convert -c -C -O qcow2 a x',
      'convert -c -O qcow2 -o data_file=x.data a x',
    ])
    expect(existsSync('x')).toBe(false)
    expect(statSync('c').size % 512).toBe(0)
  })
})
