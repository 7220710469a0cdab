/**
 * Copies, commits, amendments, checks and repairs as jobs: wherever they are paused, no request is in flight; wherever
 * they are cancelled, images are in order, and the nodes go on.
 */
import { setImmediate as turn } from 'node:timers/promises'
import {
  type AnyDriver,
  type BlockNode,
  CopyMap,
  commitNode,
  copyNodes,
  DriverRegistry,
  denyHost,
  Job,
  type JobControl,
  memory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { aroundRequests, defineDriver, forwardOps, UNCONTROLLED, viewOf } from '@vmblock/block-core/driver'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { qcow2 } from '../driver.ts'
import { createImage, filled, findings, open, pattern, SOUND, sameBytes } from '../testing/images.ts'

const CLUSTER = 512
const SIZE = 256 * 1024
/** Bytes of guest data that an L2 table maps. */
const TABLE = (CLUSTER / 8) * CLUSTER

/** The requests to the files of all images of a scene. */
class Traffic {
  begun = 0
  inFlight = 0
  /** Called when a request begins. */
  onBegin: () => void = () => undefined

  /** Counts requests, each of which takes a turn of the event loop. */
  readonly driver: AnyDriver = defineDriver({
    name: 'traffic',
    kind: 'filter',
    open: async (context) =>
      aroundRequests(forwardOps(await context.requireChild('file')), async (_, run) => {
        this.begun++
        this.inFlight++
        this.onBegin()
        if (this.takesTurns) await turn()
        return run().finally(() => this.inFlight--)
      }),
  })
  readonly takesTurns: boolean

  constructor(takesTurns = false) {
    this.takesTurns = takesTurns
  }
}

/** The nodes of a scene, open. */
interface Nodes {
  operation(control: JobControl): Promise<unknown>
  /** What users read and write. */
  readonly disk: BlockNode
  close(): Promise<void>
}

/** Image files, and what a job does with them. */
interface Scene {
  readonly files: readonly BlockNode[]
  /** Those that the job must not change. */
  readonly sources: readonly BlockNode[]
  /** What users see, before and after. Absent: they see it only afterwards. */
  readonly content: Uint8Array
  readonly isSeenBefore: boolean
  /** Whether the images are in order before. */
  readonly isSound: boolean
  open(traffic: Traffic): Promise<Nodes>
}

const openOn = (traffic: Traffic, file: BlockNode, options: RawOptions = {}): Promise<BlockNode> =>
  openNode(
    { registry: new DriverRegistry([memory, qcow2, traffic.driver]), host: denyHost },
    { driver: 'qcow2', discard: 'unmap', file: { driver: 'traffic', file }, ...options },
  )

/** An image: a third of each table is data, a third zeroes, a third unallocated. */
async function image(seed: number, more: RawOptions = {}): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...more })
  const node = await open(file)
  for (let at = 0; at < SIZE; at += TABLE) {
    await node.write(at + seed * CLUSTER, pattern(TABLE / 3, at + seed + 1))
    await node.writeZeroes(at + TABLE / 2, TABLE / 4)
  }
  await node.close()
  return file
}

async function contentOf(file: BlockNode, more: RawOptions = {}): Promise<Uint8Array> {
  const node = await open(file, { readOnly: true, ...more })
  const bytes = await toBytes(node)
  await node.close()
  return bytes
}

async function copyScene(): Promise<Scene> {
  const [from, to] = [await image(1), await createImage({ size: SIZE, cluster_size: CLUSTER })]
  return {
    files: [to],
    sources: [from],
    content: await contentOf(from),
    isSeenBefore: false,
    isSound: true,
    async open(traffic) {
      const source = await openOn(traffic, from, { readOnly: true })
      const target = await openOn(traffic, to)
      return {
        disk: target,
        async operation(control) {
          const map = await CopyMap.of({ sources: [{ node: source }] })
          await copyNodes({ map, target, pieceBytes: 8192, parallel: 3 }, control)
        },
        async close() {
          await source.close()
          await target.close()
        },
      }
    },
  }
}

async function commitScene(): Promise<Scene> {
  const [base, top] = [await image(1), await image(5)]
  const backing = { driver: 'qcow2', discard: 'unmap', file: base }
  const content = await contentOf(top, { backing })
  return {
    files: [base, top],
    sources: [],
    content,
    isSeenBefore: true,
    isSound: true,
    async open(traffic) {
      const disk = await openOn(traffic, top, {
        backing: { driver: 'qcow2', discard: 'unmap', file: { driver: 'traffic', file: base } },
      })
      const operation = async (control: JobControl): Promise<void> => {
        try {
          await commitNode(disk, {}, control)
        } finally {
          expect(disk.backing?.node.readOnly).toBe(true)
        }
      }
      return { disk, operation, close: () => disk.close() }
    },
  }
}

/** A downgrade, over a backing file: zero clusters become data. */
async function amendScene(): Promise<Scene> {
  const file = await image(1)
  const backing = { driver: 'memory', size: `${SIZE}` }
  return {
    files: [file],
    sources: [],
    content: await contentOf(file),
    isSeenBefore: true,
    isSound: true,
    async open(traffic) {
      const disk = await openOn(traffic, file, { backing })
      const operation = (control: JobControl): Promise<void> => disk.amend({ compat: '0.10' }, control)
      return { disk, operation, close: () => disk.close() }
    },
  }
}

/** A scene of one image with many refcount blocks. `damage` changes its file first. */
async function imageScene(
  operation: (node: BlockNode, control: JobControl) => Promise<unknown>,
  damage?: (file: BlockNode) => Promise<void>,
): Promise<Scene> {
  const file = await image(1, { refcount_bits: 64 })
  await damage?.(file)
  return {
    files: [file],
    sources: [],
    content: await contentOf(file),
    isSeenBefore: true,
    isSound: damage === undefined,
    async open(traffic) {
      const disk = await openOn(traffic, file, { checkMode: true })
      return { disk, operation: (control) => operation(disk, control), close: () => disk.close() }
    },
  }
}

const word = async (file: BlockNode, offset: number): Promise<number> => {
  const bytes = new Uint8Array(8)
  await file.read(offset, bytes)
  return Number(viewOf(bytes).getBigUint64(0) & 0x00ff_ffff_ffff_fe00n)
}
const [L1_TABLE, REFCOUNT_TABLE] = [40, 48]

/** Runs for every fourth entry of every L2 table that has data; `offset` is that of the entry. */
async function eachFourth(file: BlockNode, run: (offset: number, host: number) => Promise<void>) {
  const l1 = await word(file, L1_TABLE)
  for (let table = 0; table < SIZE / TABLE; table++) {
    const l2 = await word(file, l1 + table * 8)
    for (let entry = 0; entry < TABLE / CLUSTER; entry += 4) {
      const host = await word(file, l2 + entry * 8)
      if (host !== 0) await run(l2 + entry * 8, host)
    }
  }
}
/** Bytes of file whose refcounts, of 64 bits, a refcount block holds. */
const BLOCK = (CLUSTER / 8) * CLUSTER
async function setRefcount(file: BlockNode, host: number, value: number): Promise<void> {
  const block = await word(file, (await word(file, REFCOUNT_TABLE)) + Math.floor(host / BLOCK) * 8)
  await file.write(block + ((host % BLOCK) / CLUSTER) * 8 + 7, Uint8Array.of(value))
}

const repair = (node: BlockNode, control: JobControl): Promise<unknown> =>
  node.check({ repair: 'all' }, control)

const SCENES: Readonly<Record<string, () => Promise<Scene>>> = {
  'a copy': copyScene,
  'a commit': commitScene,
  'an amendment': amendScene,
  'a check': () => imageScene((node, control) => node.check({}, control)),
  'a repair of leaks': () =>
    imageScene(repair, (file) => eachFourth(file, (offset) => file.write(offset, new Uint8Array(8)))),
  'a repair of flags': () =>
    imageScene(repair, (file) => eachFourth(file, (offset) => file.write(offset, Uint8Array.of(0)))),
  'a repair of refcounts': () =>
    imageScene(repair, (file) => eachFourth(file, (_, host) => setRefcount(file, host, 3))),
  'a rebuild': () => imageScene(repair, (file) => eachFourth(file, (_, host) => setRefcount(file, host, 0))),
}

/** Gives the files of a scene their first bytes back. */
async function fresh(scene: Scene): Promise<() => Promise<void>> {
  const all = [...scene.files, ...scene.sources]
  const before = await Promise.all(all.map(toBytes))
  return async () => {
    for (const [index, file] of all.entries()) {
      await file.truncate(before[index]!.length)
      await file.write(0, before[index]!)
    }
  }
}

async function expectContent(scene: Scene, disk: BlockNode): Promise<void> {
  expect(sameBytes(await toBytes(disk), scene.content)).toBe(true)
}

/** Nodes that are still open finish what was stopped, are written, and leave images in order. */
async function expectUsable(scene: Scene, nodes: Nodes): Promise<void> {
  await nodes.operation(UNCONTROLLED)
  await expectContent(scene, nodes.disk)
  const data = filled(7, 5 * CLUSTER)
  for (let at = CLUSTER; at < SIZE; at += TABLE) await nodes.disk.write(at, data)
  await nodes.disk.discard(2 * TABLE, TABLE)
  await nodes.disk.flush()
  const back = filled(0, 5 * CLUSTER)
  await nodes.disk.read(TABLE + CLUSTER, back)
  expect(back).toEqual(data)
  await nodes.close()
  for (const file of scene.files) expect(await findings(file)).toMatchObject(SOUND)
}

describe.each(Object.keys(SCENES))('%s', (name) => {
  it('reports progress that never falls, to its end', async () => {
    const scene = await SCENES[name]!()
    const nodes = await scene.open(new Traffic())
    const told: (readonly [number, number])[] = []
    await new Job(nodes.operation, { onProgress: (...report) => told.push(report) }).done
    expect(told.length).toBeGreaterThan(3)
    expect(told.map(([done]) => done)).toEqual(told.map(([done]) => done).toSorted((a, b) => a - b))
    expect(told.every(([done, total]) => done <= total)).toBe(true)
    const [done, total] = told.at(-1)!
    expect(done).toBe(total)
    await expectUsable(scene, nodes)
  })

  it('makes no request while it is paused', async () => {
    const scene = await SCENES[name]!()
    const restore = await fresh(scene)
    let pauses = 0
    let hasEnded = false
    for (let first = 1; !hasEnded; first += 2) {
      await restore()
      const traffic = new Traffic(true)
      const nodes = await scene.open(traffic)
      const job = new Job(nodes.operation)
      const start = traffic.begun
      const paused = new Promise<void>((resolve) => {
        traffic.onBegin = () => {
          if (traffic.begun === start + first) resolve(job.pause())
        }
        void job.done.finally(resolve)
      })
      await paused
      hasEnded = !job.isPaused
      const { begun } = traffic
      expect(traffic.inFlight).toBe(0)
      for (let i = 0; i < 5; i++) await turn()
      expect(traffic.begun).toBe(begun)
      if (!hasEnded) pauses++
      job.resume()
      await job.done
      traffic.onBegin = () => undefined
      await expectContent(scene, nodes.disk)
      await nodes.close()
      for (const file of scene.files) expect(await findings(file)).toMatchObject(SOUND)
    }
    expect(pauses).toBeGreaterThan(2)
  })

  it.each(['is finished by the same nodes', 'is finished later'])(
    'leaves images in order wherever it is cancelled, and %s',
    async (way) => {
      const scene = await SCENES[name]!()
      const restore = await fresh(scene)
      const sources = await Promise.all(scene.sources.map(toBytes))
      const reason = new Error('enough')
      let isCancelled = true
      let last = 0
      for (; isCancelled; last++) {
        await restore()
        const traffic = new Traffic()
        let nodes = await scene.open(traffic)
        const abort = new AbortController()
        let checkpoints = 0
        const job: Job<unknown> = new Job(
          (control) =>
            nodes.operation({
              ...control,
              checkpoint(drain) {
                if (checkpoints++ === last) {
                  if (last % 2 === 0) abort.abort(reason)
                  else void job.cancel(reason)
                }
                return control.checkpoint(drain)
              },
            }),
          { signal: abort.signal },
        )
        const error = await job.done.then(
          () => undefined,
          (thrown: unknown) => thrown,
        )
        isCancelled = checkpoints > last
        expect(error).toBe(isCancelled ? reason : undefined)
        expect(traffic.inFlight).toBe(0)
        const { begun } = traffic
        await turn()
        expect(traffic.begun).toBe(begun)
        if (scene.isSeenBefore) await expectContent(scene, nodes.disk)
        if (way === 'is finished later') {
          await nodes.close()
          if (scene.isSound) for (const file of scene.files) expect(await findings(file)).toMatchObject(SOUND)
          nodes = await scene.open(new Traffic())
        }
        await expectUsable(scene, nodes)
        for (const [index, file] of scene.sources.entries())
          expect(sameBytes(await toBytes(file), sources[index]!)).toBe(true)
      }
      expect(last).toBeGreaterThan(5)
    },
  )
})
