/** `resize` against QEMU's: every preallocation, both ways, with data files and snapshots, and what is refused. */
import { statSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

describe.skipIf(!installed)('resize, as QEMU 7.2 says it', () => {
  it.each(['off', 'metadata', 'falloc', 'full'])('grows with preallocation=%s', async (mode) => {
    await sayTheSame([
      'made: create -q -f qcow2 a 4M',
      "io:qcow2: -c 'write 0 1M' a",
      `resize --preallocation=${mode} a 8M`,
      'info a',
      // With falloc and full, QEMU leaves a cluster free before what it allocates.
      ...(mode === 'off' || mode === 'metadata' ? ['judge: check a', 'judge: map --output=json a'] : []),
      'judge: check -q a',
      'held: a',
      'made: create -q -f qcow2 -o data_file=d.data d 4M',
      `resize --preallocation=${mode} d +2M`,
      'judge: map --output=json d',
      'judge: check -q d',
      'resize --shrink d 1M',
      'info d',
    ])
    // The file reaches to the end of what is allocated.
    expect(statSync('a').size).toBeGreaterThanOrEqual(mode === 'off' ? 1_376_256 : 5_570_560)
    expect(statSync('d.data').size).toBe(1 << 20)
  })

  it('refuses what makes no sense, and resizes with snapshots', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a 4M',
      "io:qcow2: -c 'write 0 4M' a",
      'resize --preallocation=full a 2M',
      'resize a 2M',
      'resize --shrink a 2M',
      'info a',
      'resize -q --shrink a 1M',
      'resize a -1M',
      'resize --shrink a -2M',
      'resize a +1M',
      'resize a 100',
      'resize a +0',
      'resize --preallocation=foo a 1',
      'resize a 8E',
      'made: snapshot -c s a',
      'resize a 16M',
      'resize --shrink a 1M',
      'judge: check a',
      'judge: map a',
      'made: create -q -f qcow2 -o compat=0.10 old 4M',
      'made: snapshot -c s old',
      'resize old 8M',
      'made: create -q r 1M',
      'resize -f raw r 2M',
      'resize -f raw --preallocation=full r 3M',
      'resize -f raw --shrink r 1M',
    ])
  })
})
