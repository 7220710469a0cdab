/** With the same commands on equal images, the real qemu-io and ours must print the same, byte for byte. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRandom } from '@vmblock/block-core/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runMain } from './testing.ts'

const starts = (program: string): boolean => spawnSync(program, ['--version']).status === 0

/** Whether the real programs can be started. */
const hasQemu = starts('qemu-io') && starts('qemu-img')

/** Whether tests that need them may be skipped. */
const mayMissQemu = process.env['REQUIRE_QEMU'] !== '1'

/** The output of the real qemu-io. */
interface RealResult {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** Runs the real qemu-io. A death by signal N is status 128 + N, as in a shell. */
function realQemuIo(argv: readonly string[], cwd: string, input = ''): RealResult {
  const { status, signal, stdout, stderr } = spawnSync('qemu-io', argv, { cwd, input, encoding: 'utf8' })
  return { status: status ?? 128 + (SIGNALS[signal ?? ''] ?? 0), out: stdout, err: stderr }
}

/** Runs the real qemu-io with both streams in one pipe. */
function realQemuIoMerged(argv: readonly string[], cwd: string, input = ''): string {
  return spawnSync('sh', ['-c', 'exec qemu-io "$@" 2>&1', 'sh', ...argv], { cwd, input, encoding: 'utf8' })
    .stdout
}

const SIGNALS: Readonly<Record<string, number>> = { SIGABRT: 6, SIGKILL: 9, SIGTERM: 15 }

/** Replaces times, rates and node names, which differ from run to run. */
const normalised = (text: string): string =>
  text
    .replaceAll(/\d+ ops; [0-9:.]+( sec)? \([^)]*\)/g, 'N ops; T')
    .replaceAll(/^(\d+),1,\d+:\d\d:\d\d\.\d\d,[0-9.inf]+,[0-9.inf]+$/gm, '$1,1,T')
    .replaceAll(/#block\d+/g, '#block')

/** Arguments; `@/` stands for the directory of the images. Each command is one string after `-c`. */
type Case = readonly string[]

const commands = (image: Case, ...lines: string[]): Case => [
  ...lines.flatMap((line) => ['-c', line]),
  ...image,
]
const qcow2: Case = ['@/t.qcow2']
const NULL_DISK: Case = ['--image-opts', 'driver=null-co,size=1M']
const BLKDEBUG: Case = ['-f', 'qcow2', 'blkdebug::@/t.qcow2']

const BLKVERIFY =
  'driver=blkverify,raw.filename=@/t.raw,test.driver=raw,test.file.driver=file,test.file.filename=@/u.raw'
const CBW =
  'driver=copy-before-write,file.driver=file,file.filename=@/t.raw,target.driver=file,target.filename=@/u.raw'
const throttle = (limits: string): Case => [
  '--object',
  `throttle-group,id=t,${limits}`,
  '--image-opts',
  'driver=throttle,throttle-group=t,file.driver=file,file.filename=@/t.raw',
]
const quorum = (options: string, ...names: string[]): Case => {
  const children = (names.length > 0 ? names : ['t.raw', 'u.raw', 'v.raw']).map(
    (name, i) => `children.${i}.driver=raw,children.${i}.file.filename=@/${name}`,
  )
  return ['--image-opts', ['driver=quorum', ...children, ...(options === '' ? [] : [options])].join(',')]
}

// biome-ignore format: one case a line
const CASES: readonly Case[] = [
  // the image
  commands(['-f', 'raw', '@/odd.raw'], 'length', 'info', 'read -v 990 34', 'write 0 512', 'map', 'alloc 0 1M'),
  commands(['null-co://'], 'info'),
  commands(NULL_DISK, 'map', 'alloc 0 1M'),
  commands(['--image-opts', 'driver=raw,file.driver=null-co,file.size=1M'], 'map', 'alloc 0 1M'),
  commands([...NULL_DISK.slice(0, 1), 'driver=null-co,size=1M,read-zeroes=on'], 'map', 'alloc 0 1M', 'read -P 0 0 512'),
  commands(NULL_DISK, 'info', 'truncate 1M', 'write 0 512', 'read -b 0 512', 'discard 0 512', 'write -z -n 0 512'),
  commands(['-f', 'qcow2', '@/t.qcow2'], 'info', 'map', 'length'),
  commands(['@/old.qcow2'], 'info', 'reopen -o lazy-refcounts=on'),
  commands(['@/lazy.qcow2'], 'info'),
  commands(['@/overlay.qcow2'], 'info', 'map', 'alloc 0 1M', 'write 64k 64k', 'map', 'read -P 2 128k 64k'),
  commands(['--image-opts', 'driver=file,filename=@/t.raw'], 'info', 'write 1M 1', 'read 1M 1'),
  commands(['@/t.raw'], 'length', 'write -P 0 0 512', 'write 512 512'),
  commands(['json:{"driver":"raw","file":{"driver":"file","filename":"@/t.raw"}}'], 'length'),
  ['@/nofile'], ['-f', 'foo', '@/t.qcow2'], ['-f', 'qcow2', '@/odd.raw'], ['foo:bar'],
  ['--image-opts', 'driver=qcow2,foo'], ['--image-opts', '@/t.qcow2'], ['--image-opts', 'x=y', '-f', 'raw'],
  ['--image-opts', 'driver=qcow2,file.filename=@/t.qcow2,bar=1'],
  ['-t', 'foo', '@/t.qcow2'], ['-d', 'foo', '@/t.qcow2'], ['-i', 'foo', '@/t.qcow2'],
  commands(['-k', '@/t.qcow2'], 'length'), commands(['-i', 'native', '-t', 'none', '@/t.qcow2'], 'length'),
  commands(['-U', '-r', '@/t.qcow2'], 'length'), ['-U', '@/t.qcow2'],
  ['-U', '--image-opts', 'driver=qcow2,file.filename=@/t.qcow2,force-share=off'],
  commands(['-T', 'foo', '@/t.qcow2'], 'length'), commands(['-T', 'foo*', '@/t.qcow2'], 'length'),
  ...['foo', 'foo,id=x', 'secret', 'secret,id=a', 'secret,id=a,data=1,file=x', 'secret,id=a,data=1,bar=x',
      'secret,id=a,format=base64,data=!!', 'secret,id=a,format=base64,data=QQ==', 'secret,id=a,file=@/nofile',
      'id=a,qom-type=secret,data=2'].map((object) => commands(['--object', object, '@/t.qcow2'], 'length')),

  // modes
  commands(['-r', '@/t.qcow2'], 'write -x 0 512', 'truncate 2M', 'discard 0 1', 'aio_write 0 1', 'writev 0 1', 'flush'),
  commands(['-r', '-C', '@/t.qcow2'], 'length'),
  commands(['-s', '@/t.qcow2'], 'read -P 1 0 512', 'write 0 512', 'read -P 1 512 1k', 'map', 'info'),
  commands(['-r', '-s', '@/t.qcow2'], 'read -P 1 0 512', 'write 0 512'),
  commands(['-C', '@/overlay.qcow2'], 'read -P 1 0 64k', 'read 128k 1k', 'read 512k 64k', 'map', 'info'),
  commands(['-m', '-t', 'none', '@/t.qcow2'], 'write 0 4k', 'read -P 0xcd 0 4k'),

  // open, close, reopen
  commands(qcow2, 'close', 'close', 'open @/t.qcow2', 'open @/t.qcow2', 'open -x', 'close', 'length'),
  commands([], 'open', 'open -o foo=bar', 'open -o driver=qcow2', 'open @/nofile', 'open a b', 'length', 'open -U @/t.qcow2'),
  commands([], 'open -o driver=raw -o offset=512 @/t.qcow2', 'length', 'info'),
  commands([], 'open -r @/t.qcow2', 'write 0 512', 'close', 'open -d ignore @/t.qcow2', 'discard 0 64k', 'map'),
  commands([], 'open -n @/t.qcow2', 'write 0 512', 'close', 'open -t foo @/t.qcow2', 'open -d foo @/t.qcow2'),
  commands(['--image-opts'], 'open -o driver=raw @/t.raw', 'open driver=raw,file.filename=@/t.raw', 'length'),
  commands([], 'open -C @/overlay.qcow2', 'read -P 1 0 64k', 'map'),
  commands(qcow2, 'reopen -o foo=bar', 'reopen -o lazy-refcounts=foo', 'reopen -o lazy-refcounts', 'reopen -r -w'),
  commands(qcow2, 'reopen -r -o read-only=on', 'reopen -c none -o cache.direct=on', 'reopen -o driver=raw', 'reopen -c foo'),
  commands(qcow2, 'reopen -o file.filename=x', 'reopen -o node-name=x', 'reopen foo', 'reopen -x', 'reopen'),
  commands(qcow2, 'reopen -o file=x', 'reopen -o backing=x', 'reopen -o backing=', 'reopen -o file='),
  commands(['@/overlay.qcow2'], 'reopen -o file=x', 'reopen -o backing=x', 'reopen -o backing=', 'length'),
  commands(['-f', 'raw', '@/t.raw'], 'reopen -o file=x', 'reopen -o backing=x'),
  commands(qcow2, 'reopen -r', 'write 0 512', 'reopen -w', 'write 0 512', 'reopen -c unsafe', 'write 0 512'),
  commands(['-r', '@/t.qcow2'], 'reopen -w', 'write 0 512', 'reopen -o read-only=on', 'write 0 512'),

  // requests
  commands(qcow2, 'read', 'read 0', 'read 0 1 2', 'read -x 0 1', 'read 0 1 -q', 'read -- 0 1', 'read - 1', 'read -Pq 0 1'),
  commands(qcow2, 'read -P1 0 1', 'read 0 1 -P', 'r 0 -x 1', 'read -a 0 1', 'read -p 0 1', 'readv 0', 'readv -C 0 1 2 3', 'read -1 0'),
  commands(qcow2, 'read -P 1 0 64k', 'read -P 2 0 64k', 'readv -P 2 0 1k 1k', 'read -P 2 -q 0 1k', 'read -P 2 -v 0 17', 'read -vq 0 16'),
  commands(qcow2, 'read -l 1 0 1', 'read -s 1 0 1', 'read -P 0 -s 1 0 1', 'read -P 0 -s 2 0 1', 'read -P x -l x 0 1', 'read -P 1 -s 1 -l 1 0 2'),
  commands(qcow2, 'read -b 1 512', 'read -b 512 1', 'write -b 1 512', 'write -c 512 1', 'read -b 9007199254740993 512'),
  commands(qcow2, 'write -c -P 1 128k 64k', 'write -c 128k 64k', 'write -c 192k 32k', 'write -c 200k 64k', 'write -c -C 192k 64k', 'map'),
  commands(qcow2, 'write -c -P 2 256k 192k', 'read -P 2 256k 192k', 'discard 256k 64k', 'write -c -P 3 256k 64k', 'read -P 3 256k 64k'),
  commands(['--image-opts', 'driver=compress,file.driver=qcow2,file.file.filename=@/t.qcow2'], 'write -P 4 512k 1k', 'read -P 4 512k 1k',
    'read -P 0 513k 63k', 'write -P 5 512k 1k', 'write -z 512k 64k', 'write 512k 1k', 'map'),
  commands(['--image-opts', 'driver=compress,file.driver=raw,file.file.filename=@/t.qcow2'], 'length'),
  commands(qcow2, 'read -b 0 512', 'write -b 512 1k', 'read -b -P 0xcd 512 1k'),
  commands(qcow2, 'read 0 3G', 'read 0 2147483137', 'write 0 2147483137', 'discard 0 2147483137', 'readv 0 2147483137', 'readv 0 2G 1'),
  commands(qcow2, 'read -C 0 64k', 'write -C 0 64k', 'discard -C 0 64k', 'discard -q 0 64k', 'writev 0 1 2 3', 'writev -f 0 1k', 'write -fz 0 1k'),
  commands(qcow2, 'write -b -z 0 1', 'write -f -b 0 1', 'write -f -c 0 1', 'write -n 0 1', 'write -u 0 1', 'write -z -P 1 0 1'),
  commands(qcow2, 'write -P 1 -s @/pattern 0 1', 'write -z -s @/pattern 0 1', 'write -s @/nofile 0 16', 'write -s @/empty 0 16'),
  commands(qcow2, 'write -s @/pattern 0 16', 'read -v 0 20', 'write -s @/pattern 0 0', 'write -s @/. 0 10'),
  commands(qcow2, 'write -z -n 0 4k', 'write -zu 0 64k', 'write -z -n 0 8000P', 'write 1M 0', 'write 1025k 0', 'read 7E 1', 'map'),
  commands(qcow2, 'discard 0 8E', 'discard 1M 1M', 'discard 1023k 2k', 'discard 0', 'discard 0 64k', 'map'),
  commands(qcow2, 'alloc 0 1M', 'alloc 512', 'alloc 1024k', 'alloc 1023k 100k', 'alloc 0 0', 'alloc -1', 'alloc', 'alloc 1 2 3'),
  commands(qcow2, 'truncate 1', 'truncate -m foo 1', 'truncate foo -moff', 'truncate -x', 'truncate 8E', 'truncate 1000', 'length'),
  commands(qcow2, 'truncate 2M', 'length', 'truncate 512k', 'length', 'truncate 1M 2M 3M 4M', 'truncate 1M 2M', 'length'),
  commands(['-f', 'raw', '@/t.raw'], 'truncate 2M', 'truncate -m full 3M', 'length', 'truncate 0', 'length', 'map'),

  // concurrent requests
  commands(qcow2, 'aio_write 0 4k', 'length', 'close', 'length'), commands(qcow2, 'aio_write 0 4k', 'quit', 'length'),
  commands(qcow2, 'aio_read -P 1 0 4k', 'aio_flush', 'aio_read -P 2 0 4k', 'aio_flush', 'aio_read -q -P 2 0 4k', 'aio_flush'),
  commands(qcow2, 'aio_read -v 0 16', 'aio_flush', 'aio_read 2M 512', 'aio_flush', 'aio_write 2M 512', 'aio_flush'),
  commands(qcow2, 'aio_write -zu 0 64k', 'aio_flush', 'aio_write -C 0 1k 2k', 'aio_flush', 'aio_write -z -P 1 0 1k', 'aio_flush'),
  commands(qcow2, 'aio_write -z 0 1k 1k', 'aio_write -u 0 1k', 'aio_write -i', 'aio_write -i 0 1', 'aio_read -i 0 1', 'aio_read 0 3G'),
  commands(qcow2, 'break foo A', 'break l2_load A', 'resume A', 'remove_break A', 'wait_break', 'break a'),
  commands(BLKDEBUG, 'break foo A', 'break write_aio A', 'resume A', 'remove_break A', 'remove_break A', 'aio_write 0 4k', 'aio_flush'),
  commands(BLKDEBUG, 'break write_aio A', 'aio_write 0 4k', 'wait_break A', 'length', 'resume A', 'length', 'resume A'),
  commands(['-f', 'qcow2', 'blkdebug:@/rules:@/t.qcow2'], 'write 0 4k', 'write 0 4k'),
  commands(BLKDEBUG, 'break write_aio A', 'aio_write 0 4k', 'wait_break A', 'remove_break A', 'aio_flush', 'remove_break A'),
  commands(BLKDEBUG, 'break write_aio A', 'break read_aio A', 'remove_break A', 'remove_break A'),
  commands(BLKDEBUG, 'break write_aio A', 'aio_write 0 4k', 'wait_break A', 'break pwritev A', 'remove_break A', 'aio_flush'),

  // filters
  commands(['--image-opts', BLKVERIFY], 'write -P 3 0 64k', 'read -P 3 0 1k', 'discard 0 64k', 'read -P 3 0 1k', 'flush', 'map', 'info',
    'write -c 0 64k', 'truncate 2M', 'length'),
  commands(['--image-opts', BLKVERIFY.replace('t.raw', 'full.raw')], 'read 0 1k', 'read 64k 1k', 'length'),
  commands([], 'open -o driver=raw,file.driver=blkverify,file.raw.filename=@/t.raw @/t.qcow2', 'read 512k 512', 'write -P 42 0x38000 512', 'read 0 512', 'length'),
  commands(['-f', 'raw', 'blkverify:@/full.raw:@/t.qcow2'], 'length', 'aio_read 0 4k', 'aio_flush', 'length'), ['blkverify:@/t.raw'],
  ['--image-opts', 'driver=blkverify,raw.filename=@/t.raw'], ['--image-opts', 'driver=blkverify,test.driver=file,test.filename=@/t.raw'],
  commands(quorum('vote-threshold=2'), 'write -P 3 512 64k', 'read -P 3 512 64k', 'write -z 0 4k', 'write -zu 4k 4k', 'discard 0 64k', 'truncate 2M', 'map', 'alloc 0 1M', 'info', 'flush'),
  commands(quorum('vote-threshold=2', 't.raw', 'full.raw', 'full.raw'), 'read -P 7 100 512', 'read -P 0 64k 512'),
  commands(quorum('vote-threshold=3', 't.raw', 'full.raw', 'full.raw'), 'read -P 7 100 512', 'write -P 5 0 512', 'read -P 5 0 512', 'read 0 1k'),
  commands(quorum('vote-threshold=1', 't.raw', 'full.raw'), 'read -P 7 0 512'),
  commands(quorum('vote-threshold=1,read-pattern=fifo', 't.raw', 'full.raw'), 'read -P 0 0 512'),
  commands(quorum('vote-threshold=2,rewrite-corrupted=on', 't.raw', 'full.raw', 'full.raw'), 'read -P 7 0 64k', 'close', 'open @/t.raw', 'read -P 7 0 64k'),
  commands(quorum('vote-threshold=2,blkverify=on', 't.raw', 'full.raw'), 'read -P 7 100 512', 'read 0 1'),
  ...['', 'vote-threshold=0', 'vote-threshold=4', 'vote-threshold=foo', 'vote-threshold=2,read-pattern=foo', 'vote-threshold=2,blkverify=foo',
      'vote-threshold=2,blkverify=on', 'vote-threshold=2,foo=bar'].map((options) => quorum(options)),
  ['-r', ...quorum('vote-threshold=2,rewrite-corrupted=on')], quorum('vote-threshold=1', 't.raw', 'odd.raw'), quorum('vote-threshold=2', 't.raw', 'nofile'),
  ['--image-opts', 'driver=quorum,vote-threshold=1'], ['--image-opts', 'driver=quorum,vote-threshold=1,children.0=x'],
  commands(throttle('limits.iops-total=100'), 'write -P 3 0 512', 'read -P 3 0 512', 'write -z 0 4k', 'discard 0 4k', 'truncate 2M', 'info',
    'reopen -o throttle-group=x', 'reopen -o throttle-group=t', 'length'),
  ['--image-opts', 'driver=throttle,throttle-group=t,file.driver=file,file.filename=@/t.raw'],
  ['--image-opts', 'driver=throttle,file.driver=file,file.filename=@/t.raw'], ['--image-opts', 'driver=throttle,throttle-group=t'],
  ...['x-iops-total=10,x-iops-read=1', 'x-iops-total=-1', 'x-iops-total=foo', 'x-foo=1', 'limits.foo=1', 'limits.iops-total-max=5',
      'limits.iops-total=10,limits.iops-total-max=5', 'x-iops-size=10', 'limits.bps-total=10,limits.bps-total-max-length=5',
      'limits.bps-total=10,limits.bps-total-max-length=0', 'limits.bps-total=2000000000000000', 'limits.bps-total=1k', 'limits.bps-total=0x10',
      'limits.bps-total=10,limits.bps-total-max=100,limits.bps-total-max-length=4294967296', 'x-bps-total=10,x-bps-total-max=100,x-bps-total-max-length=4294967296',
      'limits.bps-total=10,limits.bps-total-max=900000000000,limits.bps-total-max-length=4294967295', 'limits=5', 'limits.bps-total=99999999999999999999',
      'limits.bps-total=-5', 'foo.bar=1'].map((limits) => commands(throttle(limits), 'length')),
  ...['throttle-group', 'throttle-group,id=1x', 'throttle-group,id=a,limits.bps-total=x,limits.foo=1', '{"qom-type":"throttle-group","id":"a","limits":{"bps-total":100}}',
      '{"qom-type":"throttle-group","id":"a","limits":{"bps-total":"100"}}', '{"qom-type":"throttle-group","id":5}', '{"qom-type":5}', '{"id":"a"}', '{',
      '{"qom-type":"secret","id":"a","data":"x"}', 'secret,id=1x,data=1'].map((object) => commands(['--object', object, '@/t.qcow2'], 'length')),
  ['--object', 'throttle-group,id=a', '--object', 'throttle-group,id=a', '@/t.qcow2'],
  commands(['--image-opts', 'driver=qcow2,file.driver=preallocate,file.file.filename=@/t.qcow2'], 'write -P 3 256k 256k', 'read -P 3 256k 256k', 'map'),
  commands(['--image-opts', 'driver=preallocate,file.driver=file,file.filename=@/t.raw'], 'write 1M 64k', 'write 0 64k', 'truncate 2M', 'length', 'info',
    'reopen -o prealloc-size=1M', 'reopen -o prealloc-align=100', 'reopen -r', 'length'),
  ...['prealloc-align=1000', 'prealloc-align=foo', 'prealloc-size=16E', 'foo=1'].map((options): Case => ['--image-opts', `driver=preallocate,file.driver=file,file.filename=@/t.raw,${options}`]),
  commands(['--image-opts', CBW], 'write -P 1 0 512', 'write -z 64k 4k', 'discard 128k 64k', 'read -P 1 0 512', 'info', 'truncate 2M', 'length', 'write 1M 512'),
  ...['on-cbw-error=foo', 'on-cbw-error=break-snapshot', 'cbw-timeout=foo', 'cbw-timeout=1', 'cbw-timeout=99999999999', 'bitmap.node=foo,bitmap.name=bar',
      'bitmap.node=foo'].map((options) => commands(['--image-opts', `${CBW},${options}`], 'length')),
  ['-r', '--image-opts', CBW], ['--image-opts', 'driver=copy-before-write,file.driver=file,file.filename=@/t.raw'],
  commands(['--image-opts', `driver=snapshot-access,${CBW.replaceAll(/(^|,)/g, '$1file.')}`], 'read -P 0 0 512', 'write 0 512', 'discard 0 64k', 'read 0 512', 'read 64k 512',
    'map', 'write -z 0 512', 'truncate 512k', 'length'),
  commands(['--image-opts', 'driver=snapshot-access,file.driver=raw,file.file.filename=@/t.raw'], 'read 0 512', 'write 0 512', 'map', 'discard 0 512', 'write -z 0 512'),
  ['--image-opts', 'driver=raw,file.filename=@/t.raw,snapshot=on'], ['--image-opts', 'driver=foo,file.filename=@/t.raw'],

  // the program
  commands(qcow2, 'length 1', 'l', '  length   ', '', ' ', 'LENGTH', 'len', 'foo', 'quit 1 2', 'length'),
  commands([], 'length', 'help', 'help foo', 'help close', '? r x', 'help foo bar'),
  commands([], 'sleep 1', 'sleep 0x10', 'sleep -1', 'sleep x', 'sleep', 'sleep 1 2', 'sleep 08'),
  commands([], 'sigraise foo', 'sigraise -1', 'sigraise', 'sigraise 66', 'abort 1'), commands([], 'abort'),
]

/** Standard input and arguments. */
const SCRIPTS: readonly (readonly [input: string, ...argv: string[]])[] = [
  ['length\nread -q 0 512\n\nfoo\nmap', '@/t.qcow2'],
  ['length\nquit\nmap\n', '@/t.qcow2'],
  ['length\nopen @/t.qcow2\nlength\nclose\nlength\n'],
  ['aio_write 0 4k\naio_flush\nmap\n', '@/t.qcow2'],
  ['map\n', '@/t.qcow2', '-c', 'length'],
  ['read\t0 1\nread 0\t1 5\nread 0 \t1\n', '@/t.qcow2'],
  [''],
]

describe.skipIf(!hasQemu && mayMissQemu)('beside the real qemu-io', () => {
  const base = mkdtempSync(join(tmpdir(), 'qemu-io-ts-'))
  const [fresh, work] = [join(base, 'fresh'), join(base, 'work')]
  const img = (...argv: string[]): unknown => execFileSync('qemu-img', argv, { cwd: work })
  const reset = (): void => {
    rmSync(work, { recursive: true, force: true })
    cpSync(fresh, work, { recursive: true })
  }
  const inWork = (text: string): string => text.replaceAll('@/', `${work}/`)

  beforeAll(() => {
    mkdirSync(work)
    img('create', '-q', '-f', 'qcow2', 't.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'old.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'lazy.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-b', 't.qcow2', '-F', 'qcow2', 'overlay.qcow2')
    realQemuIo(['-c', 'write -P 1 0 64k', '-c', 'write -P 2 128k 64k', 't.qcow2'], work)
    for (const [name, size] of [
      ['odd.raw', 1000],
      ['t.raw', 2 ** 20],
      ['u.raw', 2 ** 20],
      ['v.raw', 2 ** 20],
    ] as const) {
      writeFileSync(join(work, name), '')
      truncateSync(join(work, name), size)
    }
    writeFileSync(join(work, 'full.raw'), new Uint8Array(2 ** 20).fill(7, 0, 65_536))
    writeFileSync(join(work, 'pattern'), 'abc')
    writeFileSync(join(work, 'empty'), '')
    writeFileSync(join(work, 'rules'), '[inject-error]\nevent = "write_aio"\nonce = "on"\n')
    cpSync(work, fresh, { recursive: true })
  })
  afterAll(() => rmSync(base, { recursive: true }))

  /** @param pipe compare both streams in one pipe, too; reports of varying length shift buffer boundaries */
  async function compare(argv: readonly string[], input = '', pipe = true): Promise<void> {
    const workArgv = argv.map(inWork)
    const readFile = async (path: string, limit: number) =>
      new Uint8Array(readFileSync(path).subarray(0, limit))
    reset()
    const real = realQemuIo(workArgv, work, inWork(input))
    reset()
    const merged = pipe ? realQemuIoMerged(workArgv, work, inWork(input)) : ''
    reset()
    const ours = await runMain(workArgv, { input: inWork(input), services: { readFile } })
    expect({
      status: ours.status,
      out: normalised(ours.out),
      err: normalised(ours.err),
      merged: pipe ? normalised(ours.merged) : '',
    }).toEqual({
      status: real.status,
      out: normalised(real.out),
      err: normalised(real.err),
      merged: normalised(merged),
    })
  }

  it.each(CASES.map((argv) => [argv.join(' '), argv] as const))('%s', async (_, argv) => {
    await compare(argv)
  })

  it.each(SCRIPTS)('input %j', async (input, ...argv) => {
    await compare(argv, input)
  })

  it('reads nasty sizes alike', async () => {
    const random = createRandom(20120727)
    const pieces = [
      '0',
      '1',
      '5',
      '9',
      '0x',
      'x',
      '.',
      'k',
      'K',
      'M',
      'G',
      'T',
      'P',
      'E',
      'e',
      'b',
      'B',
      '+',
      '-',
      'f',
      '8',
      '63',
      '1024',
      '0.5',
    ]
    const words = Array.from({ length: 400 }, () =>
      Array.from({ length: random.int(1, 7) }, () => random.pick(pieces)).join(''),
    )
    await compare(commands(['-f', 'raw', '@/t.raw'], ...words.map((word) => `alloc ${word} 0`)))
  })

  it('reads nasty patterns alike', async () => {
    const random = createRandom(77)
    const pieces = ['0', '1', '5', '8', '9', '0x', 'x', 'f', '+', '-', '2', '255', '256', '377', '.', 'k']
    const words = Array.from({ length: 200 }, () =>
      Array.from({ length: random.int(1, 5) }, () => random.pick(pieces)).join(''),
    )
    await compare(commands(['-f', 'raw', '@/t.raw'], ...words.map((word) => `write -q -P ${word} 0 1`)))
  })

  it('finds options alike in random lines', async () => {
    const random = createRandom(39)
    const pieces = [
      '0',
      '512',
      '1k',
      '-q',
      '-C',
      '-v',
      '-P',
      '-P1',
      '-qP',
      '-z',
      '-x',
      '--',
      '-',
      '-1',
      '',
      '-l',
      '-s',
      '--q',
      '-qx',
    ]
    const names = ['read', 'readv', 'discard', 'r', 'aio_read', 'reopen']
    const lines = Array.from({ length: 300 }, () =>
      [random.pick(names), ...Array.from({ length: random.int(0, 6) }, () => random.pick(pieces))].join(' '),
    )
    await compare(
      commands(['-f', 'raw', '@/t.raw'], ...lines.flatMap((line) => [line, 'aio_flush'])),
      '',
      false,
    )
  })
})
