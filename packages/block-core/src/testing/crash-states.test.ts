/** The disks that a power cut may leave: counted by hand for logs of a few requests. */
import { describe, expect, it } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import { WriteLog, writeLog } from '../drivers/write-log.ts'
import { CrashDisk } from './crash-disk.ts'
import { CrashGuest } from './crash-guest.ts'
import { type CrashDisks, type CrashState, crashStates } from './crash-states.ts'
import { openTestNode } from './nodes.ts'
import { createRandom } from './random.ts'

const ALL = { moments: 1000, disksPerMoment: 1000 }

/** Nodes on empty disks that share a log. */
async function logged(...names: string[]): Promise<{ log: WriteLog; disks: CrashDisks; nodes: BlockNode[] }> {
  const log = new WriteLog()
  const disks = new Map(names.map((name) => [name, new CrashDisk()]))
  const nodes: BlockNode[] = []
  for (const disk of names) {
    const children = { file: new CrashDisk().node() }
    nodes.push(await openTestNode(writeLog, { children, options: { log, disk } }))
  }
  return { log, disks, nodes }
}

const statesOf = (log: WriteLog, disks: CrashDisks, plan = ALL): CrashState[] => [
  ...crashStates(disks, log, { random: createRandom(1), ...plan }),
]

/** The first byte of each sector of a disk. */
function sectorsOf(disk: CrashDisk): string {
  const bytes = new Uint8Array(disk.size)
  disk.read(0, bytes)
  return Array.from(bytes.filter((_, at) => at % 512 === 0)).join('')
}

const shapes = (states: readonly CrashState[], disk: string): string[] =>
  [...new Set(states.map((state) => sectorsOf(state.disks.get(disk)!)))].sort()

const sector = (value: number, count = 1): Uint8Array => new Uint8Array(count * 512).fill(value)

describe('crash states', () => {
  it('are all subsets of what no flush covers, reordering included', async () => {
    const { log, disks, nodes } = await logged('disk')
    await nodes[0]!.write(0, sector(1))
    await nodes[0]!.write(512, sector(2))
    expect(shapes(statesOf(log, disks), 'disk')).toEqual(['', '02', '1', '12'])
  })

  it('keep what was flushed, once the flush has ended and not before', async () => {
    const { log, disks, nodes } = await logged('disk')
    await nodes[0]!.write(0, sector(1))
    await nodes[0]!.flush()
    await nodes[0]!.write(0, sector(2))
    const flush = log.entries.find(({ kind }) => kind === 'flush')!
    const states = statesOf(log, disks)
    expect(
      shapes(
        states.filter(({ moment }) => moment === flush.completed),
        'disk',
      ),
    ).toEqual(['', '1'])
    expect(
      shapes(
        states.filter(({ moment }) => moment > flush.completed!),
        'disk',
      ),
    ).toEqual(['1', '2'])
  })

  it('do not count on a flush for a write that was in flight when it began', async () => {
    const log = new WriteLog()
    const disks = new Map([['disk', new CrashDisk()]])
    let finish = (): void => undefined
    const data = sector(1)
    const request = { kind: 'write', offset: 0, bytes: 512, data, fua: false } as const
    const write = log.record(request, () => new Promise<void>((resolve) => (finish = resolve)), 'disk')
    await log.record({ kind: 'flush', offset: 0, bytes: 0 }, async () => undefined, 'disk')
    finish()
    await write
    expect(
      shapes(
        statesOf(log, disks).filter(({ moment }) => moment === log.now),
        'disk',
      ),
    ).toEqual(['', '1'])
  })

  it('tear a request of several sectors at any of them', async () => {
    const { log, disks, nodes } = await logged('disk')
    await nodes[0]!.write(0, sector(1, 3))
    await nodes[0]!.flush()
    await nodes[0]!.write(0, sector(2, 3))
    const found = new Set<string>()
    for (let seed = 1; seed < 200; seed++)
      for (const { disks: after } of crashStates(disks, log, { random: createRandom(seed), ...ALL }))
        found.add(sectorsOf(after.get('disk')!))
    for (const shape of ['111', '112', '121', '211', '122', '212', '221', '222'])
      expect([...found]).toContain(shape)
  })

  it('of several disks lose their power together, and each has flushes of its own', async () => {
    const { log, disks, nodes } = await logged('a', 'b')
    await nodes[0]!.write(0, sector(1))
    await nodes[1]!.write(0, sector(2))
    await nodes[0]!.flush()
    const last = statesOf(log, disks).filter(({ moment }) => moment === log.now)
    expect(shapes(last, 'a')).toEqual(['1'])
    expect(shapes(last, 'b')).toEqual(['', '2'])
  })

  it('lose lengths like anything else', async () => {
    const { log, disks, nodes } = await logged('disk')
    await nodes[0]!.truncate(1024)
    expect(shapes(statesOf(log, disks), 'disk')).toEqual(['', '00'])
  })

  it('are samples of a bounded number where there are too many', async () => {
    const { log, disks, nodes } = await logged('disk')
    for (let i = 0; i < 20; i++) await nodes[0]!.write(i * 512, sector(1))
    const states = statesOf(log, disks, { moments: 5, disksPerMoment: 7 })
    expect(states.length).toBeLessThanOrEqual(35)
    expect(new Set(states.map(({ moment }) => moment)).size).toBe(5)
  })
})

describe('a crash disk', () => {
  it('and its forks change independently, and know equal content', () => {
    const disk = new CrashDisk()
    disk.write(0, sector(1, 20))
    const fork = disk.fork()
    expect(fork.fingerprint()).toBe(disk.fingerprint())
    fork.write(512, sector(2))
    expect([sectorsOf(disk)[1], sectorsOf(fork)[1]]).toEqual(['1', '2'])
    expect(fork.fingerprint()).not.toBe(disk.fingerprint())
    disk.write(512, sector(2))
    expect(fork.fingerprint()).toBe(disk.fingerprint())
    disk.truncate(512)
    disk.truncate(20 * 512)
    expect(sectorsOf(disk)).toBe(`1${'0'.repeat(19)}`)
  })

  it('has the same fingerprint with zeroes written and never written', () => {
    const [written, empty] = [new CrashDisk(), new CrashDisk()]
    written.write(0, sector(0, 40))
    empty.truncate(40 * 512)
    expect(written.fingerprint()).toBe(empty.fingerprint())
    empty.truncate(41 * 512)
    expect(written.fingerprint()).not.toBe(empty.fingerprint())
  })
})

describe('a crash guest', () => {
  it('demands what it flushed from the moment the flush has ended, also when that was the last', async () => {
    const { log, nodes } = await logged('disk')
    await nodes[0]!.truncate(1024)
    const guest = new CrashGuest(nodes[0]!, log)
    const empty = new CrashDisk()
    empty.truncate(1024)
    await guest.write(0, 512)
    expect(await guest.judge(empty.node(), log.now)).toBeUndefined()
    const before = log.now
    await guest.flush()
    expect(await guest.judge(empty.node(), before)).toBeUndefined()
    expect(await guest.judge(empty.node(), log.now)).toContain('shows zeroes, not one of #1')
    expect(await guest.judge(nodes[0]!, log.now)).toBeUndefined()
  })

  it('knows the sizes that a disk may have, and refuses mixtures', async () => {
    const { log, nodes } = await logged('disk')
    await nodes[0]!.truncate(1024)
    const guest = new CrashGuest(nodes[0]!, log)
    await guest.write(0, 1024)
    await guest.resize(512)
    const large = new CrashDisk()
    large.truncate(1024)
    expect(await guest.judge(large.node(), log.now)).toContain('its size is 1024, not 512')
    const torn = new CrashDisk()
    torn.write(0, sector(7))
    expect(await guest.judge(torn.node(), log.now)).toContain('shows a mixture')
  })
})
