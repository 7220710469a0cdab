import { iotest } from '../src/harness.ts'

const write = (byte: number, offset: number, bytes: number): string =>
  `aio_write -P ${byte} ${offset} ${bytes}`

iotest(
  '077',
  'unaligned writes at the same time, over a protocol of 4 KiB blocks',
  { formats: ['raw'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '128M' })
    const commands = [
      `open -o driver=raw,file.align=4k blkdebug::${image.path}`,
      write(10, 0x200, 0x200),
      'aio_flush',
      // two requests for one block; the first is held around reading its head
      ...[
        ['head', 0x1000],
        ['after_head', 0x2000],
      ].flatMap(([event, offset]) => [
        `break pwritev_rmw_${event} A`,
        write(10, Number(offset) + 0x200, 0x200),
        'wait_break A',
        write(11, Number(offset) + 0x400, 0x200),
        'sleep 10',
        'resume A',
        'aio_flush',
      ]),
      // a chain of waiting requests
      'break pwritev_rmw_after_tail A',
      write(10, 0x5000, 0x200),
      'wait_break A',
      ...[1, 2, 3, 4, 5, 6, 7].map((i) => write(10 + i, 0x5000 + i * 0x200, 0x200)),
      'sleep 10',
      'resume A',
      'aio_flush',
      // one request that waits for two others, which end in either order
      ...['A', 'B'].flatMap((first, i) => [
        'break pwritev_rmw_after_tail A',
        write(10, 0x6000 + i * 0x2000, 0x200),
        'wait_break A',
        'break pwritev_rmw_after_head B',
        write(10, 0x7e00 + i * 0x2000, 0x200),
        'wait_break B',
        write(11, 0x6800 + i * 0x2000, 0x1000),
        `resume ${first}`,
        'sleep 10',
        `resume ${first === 'A' ? 'B' : 'A'}`,
        'aio_flush',
      ]),
      // the long request comes second
      ...['A', 'B'].flatMap((first, i) => [
        'break pwritev_rmw_after_tail A',
        write(10, 0xa000 + i * 0x2000, 0x200),
        'wait_break A',
        write(11, 0xa800 + i * 0x2000, 0x1000),
        'break pwritev_rmw_after_head B',
        write(10, 0xbe00 + i * 0x2000, 0x200),
        'wait_break B',
        `resume ${first}`,
        'sleep 10',
        `resume ${first === 'A' ? 'B' : 'A'}`,
        'aio_flush',
      ]),
      // only the tail is unaligned
      'break pwritev_rmw_after_tail A',
      write(10, 0xe000, 0x1800),
      'wait_break A',
      write(11, 0xf000, 0xc00),
      'sleep 10',
      'resume A',
      'aio_flush',
      'break pwritev A',
      write(10, 0x10000, 0x800),
      'wait_break A',
      'break pwritev_rmw_after_tail B',
      write(11, 0x10000, 0x400),
      'break pwritev_done C',
      'resume A',
      'wait_break C',
      'resume C',
      'sleep 10',
      'wait_break B',
      'resume B',
      'aio_flush',
      'break pwritev A',
      write(10, 0x11000, 0x800),
      'wait_break A',
      write(11, 0x11000, 0x1000),
      'sleep 10',
      'resume A',
      'aio_flush',
    ]
    await image.io(commands, { noFile: true })

    const expected = [
      [0, 0, 0x200],
      [10, 0x200, 0x200],
      [0, 0x400, 0xc00],
      ...[0x1000, 0x2000].flatMap((block) => [
        [0, block, 0x200],
        [10, block + 0x200, 0x200],
        [11, block + 0x400, 0x200],
        [0, block + 0x600, 0xa00],
      ]),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((i) => [10 + i, 0x5000 + i * 0x200, 0x200]),
      ...[0x6000, 0x8000, 0xa000, 0xc000].flatMap((block) => [
        [10, block, 0x200],
        [0, block + 0x200, 0x600],
        [11, block + 0x800, 0x1000],
        [0, block + 0x1800, 0x600],
        [10, block + 0x1e00, 0x200],
      ]),
      [10, 0xe000, 0x1000],
      [11, 0xf800, 0x400],
      [0, 0xfc00, 0x400],
      [11, 0x10000, 0x400],
      [10, 0x10400, 0x400],
      [11, 0x11800, 0x800],
    ] as const
    await image.io(expected.map(([byte, offset, bytes]) => `read -P ${byte} ${offset} ${bytes}`))
  },
)
