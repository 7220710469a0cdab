import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'

/** Offsets of header fields. */
const BACKING_OFFSET = 8
const BACKING_SIZE = 16
const L1_SIZE = 36
const L1_OFFSET = 40
const REFCOUNT_TABLE = 48
const REFCOUNT_CLUSTERS = 56
const SNAPSHOTS = 60
const SNAPSHOT_OFFSET = 64
const HEADER_LENGTH = 100
const EXTENSION = 112

const word = (value: number): number[] => [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff)
const long = (high: number, low: number): number[] => [...word(high), ...word(low)]

/** Changes by offset, and the error that opening then reports. Changes of one group accumulate. */
const GROUPS: readonly (readonly (readonly [
  changes: readonly (readonly [number, readonly number[]])[],
  message: string,
])[])[] = [
  [
    [[[HEADER_LENGTH, word(0xffffffff)]], 'qcow2 header exceeds cluster size'],
    [[[HEADER_LENGTH, word(0x7fffffff)]], 'qcow2 header exceeds cluster size'],
  ],
  [
    [
      [
        [BACKING_OFFSET, long(0xffffffff, 0xffffffff)],
        [EXTENSION, word(0x12345678)],
        [EXTENSION + 4, word(0x7fffffff)],
      ],
      'Invalid backing file offset',
    ],
    [[[BACKING_OFFSET, long(0, EXTENSION + 4)]], 'Header extension too large'],
    [[[BACKING_OFFSET, long(0, 0)]], 'Header extension too large'],
  ],
  [
    [[[REFCOUNT_CLUSTERS, word(0xffffffff)]], 'Reference count table too large'],
    [[[REFCOUNT_CLUSTERS, word(0x00020001)]], 'Reference count table too large'],
  ],
  [[[[REFCOUNT_TABLE, long(0x12345678, 0x90abcdef)]], 'Reference count table offset invalid']],
  [
    [
      [
        [REFCOUNT_TABLE, long(0xffffffff, 0xffff0000)],
        [REFCOUNT_CLUSTERS, word(0x7f)],
      ],
      'Reference count table offset invalid',
    ],
  ],
  [
    [[[SNAPSHOTS, word(0xffffffff)]], 'Snapshot table too large'],
    [[[SNAPSHOTS, word(0x7fffffff)]], 'Snapshot table too large'],
    [
      [
        [SNAPSHOT_OFFSET, long(0xffffffff, 0xffff0000)],
        [SNAPSHOTS, word(0xffff)],
      ],
      'Snapshot table offset invalid',
    ],
    [
      [
        [SNAPSHOT_OFFSET, long(0x12345678, 0x90abcdef)],
        [SNAPSHOTS, word(0)],
      ],
      'Snapshot table offset invalid',
    ],
  ],
  [
    [[[L1_SIZE, word(0xffffffff)]], 'Active L1 table too large'],
    [[[L1_SIZE, word(0x7fffffff)]], 'Active L1 table too large'],
    [
      [
        [L1_OFFSET, long(0x7fffffff, 0xffff0000)],
        [L1_SIZE, word(0xffff)],
      ],
      'Active L1 table offset invalid',
    ],
    [
      [
        [L1_OFFSET, long(0x12345678, 0x90abcdef)],
        [L1_SIZE, word(1)],
      ],
      'Active L1 table offset invalid',
    ],
  ],
  [
    [
      [
        [BACKING_OFFSET, long(0, 0x1000)],
        [BACKING_SIZE, word(0xffffffff)],
      ],
      'Backing file name too long',
    ],
  ],
]

iotest(
  '080',
  'headers that cannot be',
  {
    formats: ['qcow2'],
    groups: ['io', 'auto', 'quick'],
    unsupportedOptions: ['refcount_bits=1', 'data_file', 'compat=0.10', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    const refuses = async (image: Image, message: string) => {
      const result = await image.tryIo('read 0 512')
      t.equal([result.code, t.tidy(result.text)], [1, `qemu-io: can't open device DIR/t.qcow2: ${message}\n`])
    }
    for (const group of GROUPS) {
      const image = await t.create({ size: '64M' })
      for (const [changes, message] of group) {
        for (const [at, bytes] of changes) await image.poke(at, bytes)
        await refuses(image, message)
      }
    }
  },
)
