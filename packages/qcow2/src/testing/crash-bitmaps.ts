/** What is done with bitmaps when the power is cut, and what they must say afterwards. */
import { type BlockNode, bitmapsOf } from '@vmblock/block-core'
import { type CrashScene, randomRequests, type Shown } from '@vmblock/block-core/testing'
import type { Operation } from './crash.ts'

const SECTOR = 512
/** Bytes that one bit of the bitmaps stands for. */
const GRANULARITY = 2048
/** Bytes that were written while 'frozen' recorded writes. */
const FROZEN = 8192

/**
 * The bitmaps of every image: 'all' has recorded every write since the disk was empty; 'new' those since it was last
 * merged into 'old' and cleared; 'frozen' was disabled after a few writes, and never changes.
 */
async function addBitmaps({ node, guest }: CrashScene): Promise<void> {
  const bitmaps = bitmapsOf(node)
  await bitmaps.add('frozen', { granularity: GRANULARITY })
  for (const name of ['all', 'new']) await bitmaps.add(name, { granularity: GRANULARITY })
  await bitmaps.add('old', { granularity: 2 * GRANULARITY, disabled: true })
  await guest.write(0, FROZEN)
  await bitmaps.disable('frozen')
}

/** A bitmap that is not inconsistent has every sector that was written; an image that lost its bitmaps has none at all. */
async function inspect(node: BlockNode, { stamps }: Shown): Promise<void> {
  const bitmaps = bitmapsOf(node)
  const list = await bitmaps.list()
  const consistent = new Set(list.filter(({ inconsistent }) => !inconsistent).map(({ name }) => name))
  const requireAll = async (...names: readonly string[]): Promise<void> => {
    if (!names.every((name) => consistent.has(name))) return
    const dirty = new Uint8Array(stamps.length)
    for (const name of names)
      for (const { offset, bytes } of await bitmaps.dirtyRanges(name))
        dirty.fill(1, offset / SECTOR, Math.ceil((offset + bytes) / SECTOR))
    const missed = stamps.findIndex((stamp, sector) => stamp !== 0 && dirty[sector] === 0)
    if (missed >= 0)
      throw new Error(`sector ${missed} was written, and '${names.join("' and '")}' say it was not`)
  }
  for (const name of ['all', 'frozen']) {
    if (list.every((bitmap) => bitmap.name !== name)) throw new Error(`'${name}' is gone`)
  }
  await requireAll('all')
  await requireAll('new', 'old')
  if (!consistent.has('frozen')) throw new Error("'frozen' is inconsistent, though nothing changed it")
  const [first, ...more] = await bitmaps.dirtyRanges('frozen')
  if (more.length > 0 || first?.offset !== 0 || first.bytes !== Math.min(FROZEN, node.size))
    throw new Error("'frozen' has changed")
}

/** One of the things that are done with bitmaps. */
async function step({ random, node }: CrashScene): Promise<void> {
  const bitmaps = bitmapsOf(node)
  const list = await bitmaps.list()
  const isUsable = (name: string): boolean =>
    list.some((bitmap) => bitmap.name === name && !bitmap.inconsistent)
  const extra = `extra${random.int(0, 3)}`
  const hasExtra = list.some(({ name }) => name === extra)
  switch (random.pick(['merge', 'merge', 'extra', 'extra', 'toggle'] as const)) {
    case 'merge':
      if (!isUsable('new') || !isUsable('old')) return
      await bitmaps.merge('old', 'new')
      await bitmaps.clear('new')
      return
    case 'extra':
      if (hasExtra) await bitmaps.remove(extra)
      else await bitmaps.add(extra, { granularity: 512, disabled: random.chance(0.3) })
      return
    case 'toggle':
      if (isUsable(extra)) await bitmaps[random.pick(['enable', 'disable', 'clear'] as const)](extra)
  }
}

const cluster = ({ node }: CrashScene): number => node.limits.discardAlignment

/** A guest writes, bitmaps come and go, and the image is closed and opened. */
export const bitmapLife: Operation = {
  prepare: addBitmaps,
  inspect,
  async run(scene) {
    for (let i = 0; i < 6; i++) {
      await randomRequests(scene, { count: scene.random.int(0, 4), cluster: cluster(scene) })
      if (scene.random.chance(0.7)) await step(scene)
      if (scene.random.chance(0.3)) await scene.guest.flush()
      if (scene.random.chance(0.4)) await scene.restart()
      else if (scene.random.chance(0.2)) {
        await scene.guest.reopen({ readOnly: true })
        await scene.guest.reopen({ readOnly: false })
      }
    }
  },
}
