/**
 * Internal snapshots, as far as they are supported: `info` lists them as QEMU's does, and they survive a
 * change of the version. Checks of the snapshot table are in check.test.ts.
 */
import { beforeEach, describe, expect, test } from 'vitest'
import { haveQemu } from '../support/real-qemu.ts'
import { type OurPrograms, printed, type Start, useBothPrograms } from './src/held-program.ts'

const { workshop, programs } = useBothPrograms(false)
const { directory } = workshop

/** What a program reports about the image, in both forms; it is the same for both programs. */
const infos = (program: Start): string[] =>
  [['--output=human'], ['--output=json']].map((more) =>
    printed(program, ['info', ...more, 'disk.qcow2'], directory),
  )

const NAMES = ['one', 'before the upgrade of everything', '\u00fcber', 'n'.repeat(255)]

/** Changes the entries of the table one by one. `at`: bytes from the beginning of the file. */
function changeEntries(change: (view: DataView, at: number, index: number) => void): void {
  const bytes = workshop.read('disk.qcow2')
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  let at = Number(view.getBigUint64(64))
  for (let index = 0; index < view.getUint32(60); index++) {
    const end = at + 40 + view.getUint32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14)
    change(view, at, index)
    at = Math.ceil(end / 8) * 8
  }
  workshop.write('disk.qcow2', bytes)
}

describe.skipIf(!haveQemu)('info lists snapshots as QEMU does', () => {
  beforeEach(() => {
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'disk.qcow2', '1M')
    for (const name of NAMES) workshop.run('qemu-img', 'snapshot', '-c', name, 'disk.qcow2')
  })

  const same = (): void => expect(infos(programs.ours.img)).toEqual(infos(['qemu-img']))

  test('that QEMU made', () => {
    same()
    expect(infos(programs.ours.img)[0]).toContain(NAMES[1])
  })

  test('with clocks, states and counts of every size', () => {
    const clocks = [0n, 987_654_321n, ((123n * 60n + 45n) * 60n + 7n) * 10n ** 9n, 2n ** 62n]
    const sizes = [1n, 1023n * 1024n, 3n * 2n ** 40n + 5n, 2n ** 62n + 1n]
    const counts = [0n, 2n ** 53n + 1n, 2n ** 63n + 9n, 2n ** 64n - 1n]
    changeEntries((view, at, index) => {
      view.setUint32(at + 16, [0, 1, 2 ** 31, 2 ** 32 - 1][index]!)
      view.setUint32(at + 20, index * 333_333_333)
      view.setBigUint64(at + 24, clocks[index]!)
      view.setBigUint64(at + 40, sizes[index]!)
      view.setBigUint64(at + 56, counts[index]!)
    })
    same()
  })

  test('of old images, whose entries say less', () => {
    // The rest of the extra data becomes part of the id, which ends at its first byte, a zero.
    changeEntries((view, at, index) => {
      view.setUint32(at + 32, index * 1_000_000)
      view.setUint32(at + 36, 0)
      view.setUint16(at + 12, view.getUint16(at + 12) + 24)
    })
    same()
  })

  test('or cannot be opened, and says what to do', () => {
    changeEntries((view, at, index) => {
      if (index === 1) view.setUint32(at + 36, 1025)
    })
    const theirs = workshop.attempt('qemu-img', 'info', 'disk.qcow2')
    const [program, ...first] = programs.ours.img
    const own = workshop.attempt(program as 'qemu-img', ...first, 'info', 'disk.qcow2')
    expect(own).toEqual(theirs)
    expect(own.stderr).toMatch(/entry 1\nYou can force-remove this extra metadata/)
  })
})

describe.skipIf(!haveQemu)('a change from version 2 to 3', () => {
  /** Removes the extra data, which version 3 adds. */
  const shorten = (): void =>
    changeEntries((view, at) => {
      const [id, name] = [12, 14].map((field) => view.getUint16(at + field))
      const bytes = new Uint8Array(view.buffer, view.byteOffset + at, 40 + 24 + id! + name!)
      bytes.copyWithin(40, 40 + 24)
      view.setUint32(at + 36, 0)
      // The freed bytes become the end of the name.
      bytes.fill(0, bytes.length - 24)
      view.setUint16(at + 14, name! + 24)
    })

  test.each([
    ['whole', () => undefined],
    ['short', shorten],
  ])('keeps snapshots with %s entries, as by QEMU', (_, change) => {
    workshop.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'disk.qcow2', '1M')
    workshop.run('qemu-io', '-c', 'write -P 7 0 256k', 'disk.qcow2')
    for (const name of NAMES) workshop.run('qemu-img', 'snapshot', '-c', name, 'disk.qcow2')
    change()
    const before = workshop.read('disk.qcow2')
    const amended = ({ img }: OurPrograms): unknown => {
      workshop.write('disk.qcow2', before)
      printed(img, ['amend', '-f', 'qcow2', '-o', 'compat=1.1', 'disk.qcow2'], directory)
      return [
        workshop.run('qemu-img', 'check', 'disk.qcow2'),
        workshop.run('qemu-img', 'info', '--output=json', 'disk.qcow2').replace(/"actual-size": \d+/, ''),
        workshop.run('qemu-io', '-c', 'read -P 7 0 256k', 'disk.qcow2').split('\n')[0],
      ]
    }
    expect(amended(programs.ours)).toEqual(amended(programs.real))
  })
})
