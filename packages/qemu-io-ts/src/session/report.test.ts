import { describe, expect, it } from 'vitest'
import { hexDump } from './hexdump.ts'
import { humanSize, repairText, report } from './report.ts'

describe('human sizes', () => {
  it.each<[number, string]>([
    [0, '0 bytes'],
    [512, '512 bytes'],
    [1023, '1023 bytes'],
    [390.164271, '390.164271 bytes'],
    [1024, '1 KiB'],
    [1088, '1.062 KiB'],
    [1536, '1.500 KiB'],
    [1048575.9, '1024 KiB'],
    [64 * 2 ** 20, '64 MiB'],
    [2 ** 63, '8 EiB'],
    [Number.POSITIVE_INFINITY, 'inf EiB'],
  ])('%d is %s', (value, expected) => {
    expect(humanSize(value)).toBe(expected)
  })
})

describe('reports', () => {
  const finished = { operation: 'read', offset: 4096, bytes: 65536, nanoseconds: 50_000_000, machine: false }

  it('has two lines for people', () => {
    expect(report(finished)).toBe(
      'read 65536/65536 bytes at offset 4096\n64 KiB, 1 ops; 00.05 sec (1.250 MiB/sec and 20.0000 ops/sec)\n',
    )
  })

  it('has hours, minutes and seconds from one second on', () => {
    expect(report({ ...finished, nanoseconds: 3_725_500_000_000 })).toContain('; 1:02:05.50 (')
    expect(report({ ...finished, nanoseconds: 1_000_000_000 })).toContain('; 0:00:01.00 (')
  })

  it('has one line for programs', () => {
    expect(report({ ...finished, machine: true })).toBe('65536,1,0:00:00.05,1310720.000,20.000\n')
  })

  it('of nothing is a report too', () => {
    expect(report({ ...finished, bytes: 0 })).toContain(
      '0 bytes, 1 ops; 00.05 sec (0 bytes/sec and 20.0000 ops/sec)',
    )
  })
})

describe('dumps', () => {
  it('shows sixteen bytes a line, and letters and digits as themselves', () => {
    const data = Uint8Array.from({ length: 18 }, (_, i) => (i < 2 ? 0 : 0x2f + i))
    expect(hexDump(data, 0x3de)).toBe(
      '000003de:  00 00 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e  ..123456789.....\n' +
        '000003ee:  3f 40  ..\n',
    )
  })
})

describe('the line about a repair', () => {
  const NOTHING = { corruptions: 0, leaks: 0, corruptionsFixed: 0, leaksFixed: 0, checkErrors: 0 }

  it('says what was repaired, fits a terminal, and that the data is there only if nothing is left', () => {
    const text = repairText({ ...NOTHING, corruptionsFixed: 1, leaksFixed: 1200 })
    expect(text).toBe('The image was not closed: repaired 1 error and 1200 leaks. The data is there.\n')
    expect(text.length).toBeLessThanOrEqual(80)
    expect(repairText({ ...NOTHING, corruptionsFixed: 2, checkErrors: 1 })).toBe(
      'The image was not closed: repaired 2 errors and 0 leaks. Left: 1 error.\n',
    )
  })
})
