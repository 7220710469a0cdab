/**
 * A round with snapshots: both sides write, make, apply and delete in turn, and read each other's snapshots.
 * @module
 */
import { snapshotsOf } from '@vmblock/block-core'
import type { Random } from '@vmblock/block-core/testing'
import { type Bench, openBench } from '../../support/real-qemu.ts'
import { requireContent, requireSound } from './agreement.ts'
import { Model, randomOperations } from './operations.ts'
import { openOurs } from './ours.ts'
import { LONG } from './settings.ts'
import { ourTurn, patternName, realTurn, requireEqual } from './turns.ts'
import { randomFor, type Variety } from './varieties.ts'

const STEPS = LONG ? 20 : 7
const OPERATIONS = LONG ? 60 : 20
const MOST = 4

/** A snapshot as it should be. */
interface Saved {
  readonly id: string
  readonly name: string
  readonly bytes: Uint8Array
}

/** Plays a round. @throws Error that says what the two sides see differently */
export async function playSnapshots(variety: Variety, seed: number, canResize: boolean): Promise<void> {
  const random = randomFor(seed, 'qemu-img')
  const bench = openBench()
  try {
    const files = [random.bytes(4099)]
    bench.write(patternName(0), files[0]!)
    const subject = await variety.make({ bench, maker: random.pick(['qemu-img', 'our create']), random })
    const model = new Model(subject.content, files, subject.discard)
    const { name, format } = subject
    const { resizeUpTo, ...fixed } = subject.wishes
    const wishes = canResize && resizeUpTo !== undefined ? { ...fixed, resizeUpTo } : fixed
    const saved: Saved[] = []
    for (let step = 0; step < STEPS; step++) {
      const operations = randomOperations(random, OPERATIONS, model.bytes.length, 1, wishes)
      const turn = { bench, name, format, cache: 'writeback', model, operations } as const
      const isOurs = [random.chance(0.5), random.chance(0.5)]
      if (isOurs[0]) await ourTurn(turn)
      else realTurn(turn)
      const did = await change({ bench, name, random, saved, model, isOurs: isOurs[1]! })
      try {
        await requireSound(bench, name)
        await requireContent(bench, name, format, model.bytes)
        await requireSnapshots(bench, name, saved)
      } catch (error) {
        if (error instanceof Error)
          error.message = `step ${step}, requests by ${side(isOurs[0]!)}, ${did} by ${side(isOurs[1]!)}: ${error.message}`
        throw error
      }
    }
  } finally {
    bench.remove()
  }
}

const side = (isOurs: boolean): string => (isOurs ? 'us' : 'QEMU')

interface Scene {
  readonly bench: Bench
  readonly name: string
  readonly random: Random
  readonly saved: Saved[]
  readonly model: Model
  readonly isOurs: boolean
}

/** Makes, applies or deletes one snapshot. @returns what was done */
async function change(scene: Scene): Promise<string> {
  const { random, saved, model } = scene
  const kinds = saved.length === 0 ? ['-c'] : saved.length >= MOST ? ['-a', '-d'] : ['-c', '-c', '-a', '-d']
  const kind = random.pick(kinds)
  if (kind === '-c') {
    const id = `${1 + Math.max(0, ...saved.map(({ id }) => Number(id)))}`
    const named = random.pick(['same', 'other name', `n${id}`])
    await run(scene, '-c', named)
    saved.push({ id, name: named, bytes: model.bytes.slice() })
    return `making '${named}'`
  }
  const chosen = random.pick(saved)
  if (kind === '-a') {
    await run(scene, '-a', chosen.id)
    model.bytes = chosen.bytes.slice()
    return `applying ${chosen.id}`
  }
  await run(scene, '-d', chosen.name)
  saved.splice(
    saved.findIndex((each) => each.name === chosen.name),
    1,
  )
  return `deleting '${chosen.name}'`
}

async function run({ bench, name, isOurs }: Scene, kind: '-c' | '-a' | '-d', word: string): Promise<void> {
  if (!isOurs) {
    const said = bench.run('qemu-img', 'snapshot', kind, word, name)
    if (said !== '') throw new Error(`qemu-img says ${said}`)
    return
  }
  const node = await openOurs(bench.path(name), 'qcow2')
  const snapshots = snapshotsOf(node)
  if (kind === '-c') await snapshots.create(word, { icount: 0n })
  else if (kind === '-a') await snapshots.apply({ id: word })
  else await snapshots.delete(word)
  await node.close()
}

/** Both sides list the same, and read the same from each snapshot. */
async function requireSnapshots(bench: Bench, name: string, saved: readonly Saved[]): Promise<void> {
  const expected = saved.map((snapshot) => `${snapshot.id} ${snapshot.name}`)
  const rows = bench.run('qemu-img', 'snapshot', '-l', name).split('\n').slice(2, -1)
  const listed = rows.map((row) => /^(\d+) +(.*?) +0 B /.exec(row)?.slice(1).join(' '))
  if (JSON.stringify(listed) !== JSON.stringify(expected))
    throw new Error(`QEMU lists ${listed}, not ${expected}`)
  const node = await openOurs(bench.path(name), 'qcow2', { readOnly: true })
  try {
    const ours = (await node.listSnapshots()).map((snapshot) => `${snapshot.id} ${snapshot.name}`)
    if (JSON.stringify(ours) !== JSON.stringify(expected)) throw new Error(`we list ${ours}, not ${expected}`)
    for (const { id, bytes } of saved) {
      const view = await snapshotsOf(node).open({ id })
      const content = new Uint8Array(view.size)
      await view.read(0, content)
      await view.close()
      requireEqual(content, bytes)
      bench.run(
        'qemu-img',
        'convert',
        '-f',
        'qcow2',
        '-l',
        `snapshot.id=${id}`,
        '-O',
        'raw',
        name,
        'shown.raw',
      )
      // QEMU shows a snapshot with the size that the disk has now.
      const shown = bench.read('shown.raw')
      const common = Math.min(shown.length, bytes.length)
      requireEqual(shown.subarray(0, common), bytes.subarray(0, common))
    }
  } finally {
    await node.close()
  }
}
