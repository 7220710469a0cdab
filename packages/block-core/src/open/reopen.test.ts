import { describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { type ChildKinds, cow, storage } from '../contract/child-kinds.ts'
import { type BlockDriver, defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import type { Disk } from '../disk/disk.ts'
import { memory } from '../drivers/memory.ts'
import { findNode } from '../graph/environment.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { bool, integer, type RawOptions } from '../text/options.ts'
import { openNode } from './open.ts'
import { type ReopenOptions, reopenNode } from './reopen.ts'

/** Names of nodes whose preparation fails, and the events, in order. */
class Story {
  readonly failing = new Set<string>()
  readonly lines: string[] = []
}

/** A driver that records its reopens. */
const storyDriver = (story: Story, name: string, kind: 'protocol' | 'format') =>
  defineDriver({
    name,
    kind,
    options: { lazy: bool('may change', false), fixed: integer('may not change', 1) },
    mutableOptions: ['lazy'],
    children: (kind === 'format' ? { file: storage, backing: cow } : {}) as ChildKinds,
    async open(context) {
      const file = kind === 'format' ? await context.requireChild('file') : undefined
      if (file) await context.child('backing')
      const ops: NodeOps = {
        size: () => 512,
        read: async (_, into) => void into.fill(0),
        write: async () => undefined,
        flush: async () => void story.lines.push(`${context.nodeName} flush`),
        async prepareReopen({ readOnly, options, direct }) {
          const tell = (what: string) => story.lines.push(`${context.nodeName} ${what}`)
          const below = file === undefined ? '' : ` on ${file.readOnly ? 'ro' : 'rw'}`
          tell(
            `prepare ${readOnly ? 'ro' : 'rw'}${below} lazy=${String(options['lazy'])} direct=${String(direct)}`,
          )
          if (story.failing.has(context.nodeName)) throw new BlockError('EIO', 'will not')
          return { commit: () => void tell('commit'), abort: () => void tell('abort') }
        },
      }
      return ops
    },
  })

const fixedDriver = defineDriver({
  name: 'fixed',
  kind: 'protocol',
  options: { lazy: bool('cannot change', false) },
  mutableOptions: ['lazy'],
  open: () => Promise.resolve<NodeOps>({ size: () => 512, read: async () => undefined }),
})

function setup() {
  const story = new Story()
  const drivers = [
    storyDriver(story, 'disk', 'protocol'),
    storyDriver(story, 'image', 'format'),
    fixedDriver,
    memory,
  ]
  const environment: OpenEnvironment = {
    registry: new DriverRegistry(drivers as unknown as BlockDriver<never, never>[]),
    host: denyHost,
  }
  const open = (options: RawOptions): Promise<Disk> => openNode(environment, options)
  const image = (options: RawOptions = {}): Promise<Disk> =>
    open({
      driver: 'image',
      'node-name': 'top',
      'file.driver': 'disk',
      'file.node-name': 'bottom',
      ...options,
    })
  const refusal = (node: BlockNode, request: ReopenOptions): Promise<string> =>
    reopenNode(node, request).then(
      () => 'nothing',
      (error: unknown) => (error as Error).message,
    )
  return { environment, story, open, image, refusal }
}

describe('reopening', () => {
  it('makes the file writable before the format prepares', async () => {
    const { story, image } = setup()
    const node = await image({ 'read-only': true })
    await reopenNode(node, { readOnly: false })
    expect(story.lines).toEqual([
      'bottom prepare rw lazy=false direct=false',
      'bottom commit',
      'top prepare rw on rw lazy=false direct=false',
      'top commit',
    ])
    expect([node.readOnly, node.file?.readOnly]).toEqual([false, false])
    await node.write(0, new Uint8Array(512))
  })

  it('flushes what becomes read-only, and lets the format finish first', async () => {
    const { story, image } = setup()
    const node = await image()
    await reopenNode(node, { readOnly: true })
    expect(story.lines).toEqual([
      'top flush',
      'top prepare ro on rw lazy=false direct=false',
      'bottom prepare ro lazy=false direct=false',
      'top commit',
      'bottom commit',
    ])
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EPERM' })
  })

  it('undoes everything when a node cannot become writable', async () => {
    const { story, image } = setup()
    const node = await image({ 'read-only': true })
    story.failing.add('top')
    await expect(reopenNode(node, { readOnly: false })).rejects.toThrow('will not')
    expect([node.readOnly, node.file?.readOnly]).toEqual([true, true])
    expect(story.lines.slice(-2)).toEqual(['bottom prepare ro lazy=false direct=false', 'bottom commit'])
  })

  it('undoes everything when a node cannot become read-only', async () => {
    const { story, image } = setup()
    const node = await image()
    story.failing.add('bottom')
    await expect(reopenNode(node, { readOnly: true })).rejects.toThrow('will not')
    expect(story.lines.at(-1)).toBe('top abort')
    expect([node.readOnly, node.file?.readOnly]).toEqual([false, false])
    await node.write(0, new Uint8Array(512))
  })

  it('holds back requests until it is done', async () => {
    const { story, image } = setup()
    const node = await image()
    const reopened = reopenNode(node, { readOnly: true })
    const written = node.write(0, new Uint8Array(512)).catch((error: unknown) => (error as BlockError).code)
    await reopened
    expect(await written).toBe('EPERM')
    expect(story.lines.at(-1)).toBe('bottom commit')
  })

  it('changes options that may change, and keeps those that were not named', async () => {
    const { story, image } = setup()
    const node = await image({ fixed: '5', 'detect-zeroes': 'on' })
    await reopenNode(node, { options: { lazy: 'on' } })
    await reopenNode(node, { cache: { direct: true, writeCache: false } })
    expect(story.lines.filter((line) => line.startsWith('top prepare'))).toEqual([
      'top prepare rw on rw lazy=true direct=false',
      'top prepare rw on rw lazy=true direct=true',
    ])
    expect(node.config).toMatchObject({ direct: true, detectZeroes: 'on', noFlush: false })
    expect(node.writeCache).toBe(false)
    expect(node.file?.node.config).toMatchObject({ direct: true })
  })

  it('reaches children under their names, and what they were told stays', async () => {
    const { story, image } = setup()
    const node = await image()
    await reopenNode(node, { options: { 'file.lazy': true, file: { cache: { direct: true } } } })
    await reopenNode(node, { cache: { direct: false } })
    expect(node.file?.node.config.direct).toBe(true)
    expect(story.lines).toContain('bottom prepare rw lazy=true direct=true')
  })

  it.each<[RawOptions, string]>([
    [{ fixed: 2 }, "Cannot change the option 'fixed'"],
    [{ foo: 2 }, "Cannot change the option 'foo'"],
    [{ driver: 'disk' }, "Cannot change the option 'driver'"],
    [{ 'node-name': 'x' }, "Cannot change the option 'node-name'"],
    [{ 'file.fixed': 2 }, "Cannot change the option 'fixed'"],
    [{ file: null }, "Cannot change the option 'file'"],
    [{ lazy: 'maybe' }, "Parameter 'lazy' expects 'on' or 'off'"],
    [{ 'read-only': 'maybe' }, "Parameter 'read-only' expects 'on' or 'off'"],
    [{ file: 'top' }, "Making 'top' a file child of 'top' would create a cycle"],
    [{ file: 'nobody' }, "Cannot find device='' nor node-name='nobody'"],
    [{ 'file.read-only': true }, 'Block node is read-only'],
    [{ fixed: '1', driver: 'image', 'node-name': 'top', file: 'bottom' }, 'nothing'],
  ])('%j', async (options, message) => {
    const { story, image, refusal } = setup()
    const node = await image()
    expect(await refusal(node, { options })).toBe(message)
    expect(story.lines.filter((line) => line.includes('prepare'))).toEqual([])
  })

  it('refuses what the driver cannot do', async () => {
    const { open, refusal } = setup()
    const node = await open({ driver: 'fixed', 'read-only': true, 'node-name': 'f' })
    expect(await refusal(node, { options: { lazy: true } })).toBe("Cannot change the option 'lazy'")
    expect(await refusal(node, { readOnly: false })).toBe("Node 'f' is read only")
  })

  it('does not take a file away from a writable format', async () => {
    const { environment, image, refusal } = setup()
    await image()
    expect(await refusal(findNode(environment, 'bottom'), { readOnly: true })).toBe('Block node is read-only')
  })

  it('leaves nodes alone that others opened', async () => {
    const { open, refusal } = setup()
    const file = await open({ driver: 'disk', 'node-name': 'mine', 'read-only': true })
    const node = await open({ driver: 'image', file: 'mine', 'read-only': true })
    expect(await refusal(node, { readOnly: false })).toBe('Block node is read-only')
    expect(await refusal(node, { options: { 'file.lazy': true } })).toBe(
      "Cannot change the option 'file.lazy'",
    )
    expect(file.readOnly).toBe(true)
  })

  it('replaces a child by another node, and closes the one that no node needs any more', async () => {
    const { environment, open, image } = setup()
    const node = await image()
    const other = await open({ driver: 'memory', size: 512, 'node-name': 'other' })
    await reopenNode(node, { options: { file: 'other' } })
    expect(node.file?.node).toBe(linkedNode(other))
    expect(() => findNode(environment, 'bottom')).toThrow('Cannot find')
    await node.close()
    expect(other.isOpen).toBe(true)
  })
})
