import { describe, expect, it } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { findNode } from '../graph/environment.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import { runModel } from '../testing/model.ts'
import { toBytes } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import { blkdebug } from './blkdebug.ts'
import { memory } from './memory.ts'
import { createQuorum, type QuorumHost, type QuorumReport } from './quorum.ts'
import { countVotes } from './quorum-votes.ts'

const SIZE = 4096

const member = (i: number, size = SIZE) => ({ driver: 'memory', size, nodeName: `m${i}` })
const members = (count: number) => Array.from({ length: count }, (_, i) => member(i))

/** A member whose requests of a kind fail, within one sector of the disk if it is given. */
const faulty = (i: number, iotype: string, errno: number, sector?: number) => ({
  driver: 'blkdebug',
  nodeName: `m${i}`,
  image: { driver: 'memory', size: SIZE },
  'inject-error': [
    { event: 'none', iotype, errno, immediately: true, ...(sector !== undefined && { sector }) },
  ],
})

async function open(options: object, host: QuorumHost = {}) {
  const environment = {
    registry: new DriverRegistry([memory, blkdebug, createQuorum(host)]),
    host: denyHost,
  }
  const node = await openNode(environment, { driver: 'quorum', ...options } as never)
  return { node, member: (i: number) => findNode(environment, `m${i}`), environment }
}

const fill = (byte: number, bytes = 1024) => new Uint8Array(bytes).fill(byte)

async function readByte(node: { read(at: number, into: Uint8Array): Promise<void> }, at: number) {
  const byte = new Uint8Array(1)
  await node.read(at, byte)
  return byte[0]
}

describe('a quorum', () => {
  it.each([1, 2, 3])('is a disk like any other, seed %i', async (seed) => {
    await runModel({
      seed,
      operations: 80,
      makeNode: async () => (await open({ voteThreshold: 2, children: members(3) })).node,
      async verify(node) {
        const contents = await Promise.all([...node.children.values()].map((edge) => toBytes(edge.node)))
        const expected = await toBytes(node)
        for (const content of contents) expect(Buffer.compare(content, expected)).toBe(0)
      },
    })
  })

  it.each([1, 2, 3, 4])(
    'shows what enough children have, with others that are random, seed %i',
    async (seed) => {
      const random = createRandom(seed)
      const { node, member: of } = await open({
        voteThreshold: 3,
        children: members(5),
        rewriteCorrupted: seed % 2 === 0,
      })
      const content = random.bytes(SIZE)
      await node.write(0, content)
      for (let step = 0; step < 40; step++) {
        const at = random.int(0, SIZE - 600)
        for (let lies = 0; lies < 2; lies++)
          await of(random.int(0, 5)).write(at, random.bytes(random.int(1, 600)))
        const into = new Uint8Array(600)
        await node.read(at, into)
        expect(Buffer.compare(into, content.subarray(at, at + 600))).toBe(0)
        // The next step needs three that are right: those that were outvoted are, if they were corrected.
        if (seed % 2 === 1) for (let i = 0; i < 5; i++) await of(i).write(at, content.subarray(at, at + 600))
      }
      for (let i = 0; i < 5; i++) expect(Buffer.compare(await toBytes(of(i)), content)).toBe(0)
    },
  )

  it('reports a child that is outvoted, and corrects it only if asked', async () => {
    for (const rewriteCorrupted of [false, true]) {
      const reports: QuorumReport[] = []
      const { node, member: of } = await open(
        { voteThreshold: 2, children: members(3), rewriteCorrupted },
        { onReport: (report) => reports.push(report) },
      )
      await node.write(0, fill(5))
      await of(1).write(100, fill(6, 10))
      expect(await readByte(node, 104)).toBe(5)
      expect(reports).toEqual([{ kind: 'bad', operation: 'read', node: 'm1', offset: 104, bytes: 1 }])
      expect(await readByte(of(1), 104)).toBe(rewriteCorrupted ? 5 : 6)
      expect(await readByte(of(1), 105)).toBe(6)
    }
  })

  it('fails a read without majority, and tells so', async () => {
    const reports: QuorumReport[] = []
    const { node, member: of } = await open(
      { voteThreshold: 2, children: members(3), nodeName: 'q' },
      { onReport: (report) => reports.push(report) },
    )
    for (const i of [0, 1, 2]) await of(i).write(512, fill(i + 1))
    await expect(node.read(512, new Uint8Array(8))).rejects.toMatchObject({ code: 'EIO', node: 'q' })
    expect(reports).toEqual([{ kind: 'failure', operation: 'read', node: 'q', offset: 512, bytes: 8 }])
  })

  it('takes the answer of the last child where answers are equally frequent, as QEMU does', async () => {
    const { node, member: of } = await open({ voteThreshold: 1, children: members(2) })
    for (const i of [0, 1]) await of(i).write(0, fill(i + 1))
    expect(await readByte(node, 0)).toBe(2)
    const versions = countVotes([3, 4, 3, 5, 4].entries(), (a, b) => a === b)
    expect(versions).toEqual([
      { value: 4, voters: [1, 4] },
      { value: 3, voters: [0, 2] },
      { value: 5, voters: [3] },
    ])
  })

  it('does without children that fail, as long as enough do not', async () => {
    const reports: QuorumReport[] = []
    const children = [faulty(0, 'write', 28), member(1), faulty(2, 'read', 5)]
    const { node } = await open(
      { voteThreshold: 2, children },
      { onReport: (report) => reports.push(report) },
    )
    await node.write(0, fill(3))
    await expect(node.read(0, fill(0))).rejects.toMatchObject({ code: 'EIO' })
    expect(reports.map(({ kind, operation, node: name }) => `${kind} ${operation} ${name}`)).toEqual([
      'bad write m0',
      'bad read m2',
      `failure read ${node.name}`,
    ])
    expect(reports[0]).toMatchObject({ offset: 0, bytes: 1024, error: { code: 'ENOSPC' } })
  })

  it('fails with the error of most children', async () => {
    const write = (i: number, errno: number) => faulty(i, 'write', errno)
    const { node } = await open({
      voteThreshold: 2,
      children: [write(0, 5), write(1, 28), write(2, 28), member(3)],
    })
    await expect(node.write(0, fill(1))).rejects.toMatchObject({ code: 'ENOSPC' })
    const flushes = [faulty(0, 'flush', 5), faulty(1, 'flush', 5), member(2)]
    const other = await open({ voteThreshold: 2, children: flushes })
    await other.node.write(0, fill(1))
    await expect(other.node.flush()).rejects.toMatchObject({ code: 'EIO' })
  })

  it('reads from the first child that can be read with read-pattern=fifo', async () => {
    const reports: string[] = []
    const children = [faulty(0, 'read', 5, 2), member(1)]
    const { node, member: of } = await open(
      { voteThreshold: 1, children, 'read-pattern': 'fifo' },
      { onReport: ({ node: name }) => reports.push(name) },
    )
    await of(1).write(1000, fill(2))
    expect([await readByte(node, 1000), await readByte(node, 1024)]).toEqual([0, 2])
    expect(reports).toEqual(['m0'])
  })

  it('is zero where all children are, whatever they hold', async () => {
    // A memory disk knows pages of 64 KiB.
    const [page, size] = [65_536, 4 * 65_536]
    const { node, member: of } = await open({
      voteThreshold: 2,
      children: [member(0, size), member(1, size)],
    })
    expect(await node.blockStatus(0, size)).toMatchObject({ bytes: size, zero: true, allocated: true })
    await of(1).write(page, fill(1, page))
    await of(0).write(2 * page, fill(1, page))
    expect(await node.blockStatus(0, size)).toMatchObject({ bytes: page, zero: true, data: false })
    expect(await node.blockStatus(page, page)).toMatchObject({ bytes: page, zero: false, data: true })
    expect(await node.blockStatus(3 * page, page)).toMatchObject({ bytes: page, zero: true })
  })

  it('compares in its mode blkverify, and tells where the children differ', async () => {
    const lines: string[] = []
    const options = { voteThreshold: 2, children: members(2), blkverify: true }
    const { node, member: of } = await open(options, { onMismatch: (line) => lines.push(line) })
    await node.write(0, fill(1))
    await of(0).write(100, fill(9, 1))
    const line = 'quorum: offset=64 bytes=64 contents mismatch at offset 100'
    await expect(node.read(64, new Uint8Array(64))).rejects.toThrow(line)
    expect(lines).toEqual([line])
  })

  it('cannot be resized, compressed or discarded', async () => {
    const { node } = await open({ voteThreshold: 1, children: members(1), discard: 'unmap' })
    await expect(node.truncate(512)).rejects.toThrow('Image format driver does not support resize')
    await expect(node.writeCompressed(0, fill(1))).rejects.toMatchObject({ code: 'ENOTSUP' })
    await node.write(0, fill(1))
    await node.discard(0, SIZE)
    expect(await readByte(node, 0)).toBe(1)
  })

  it('lets nobody else change its children, and is reopened with them', async () => {
    const { node, environment } = await open({ voteThreshold: 2, children: members(2) })
    const other = { driver: 'quorum', voteThreshold: 1, children: ['m0'] }
    await expect(openNode(environment, other as never)).rejects.toMatchObject({ code: 'EBUSY' })
    await reopenNode(node, { readOnly: true })
    expect(findNode(environment, 'm1').readOnly).toBe(true)
    await expect(node.write(0, fill(1))).rejects.toMatchObject({ code: 'EPERM' })
    await expect(reopenNode(node, { options: { voteThreshold: 1 } })).rejects.toThrow(
      "Cannot change the option 'voteThreshold'",
    )
  })

  it('is named by a list of its children, as in QEMU', async () => {
    const children = [{ driver: 'memory', size: 512 }]
    const { node, environment } = await open({ 'vote-threshold': 1, children })
    expect(node.filename).toBe(
      'json:{"children": [{"driver": "memory", "size": 512}], "driver": "quorum", "vote-threshold": 1}',
    )
    expect((await openNode(environment, node.filename)).size).toBe(512)
  })

  const wrong: [object, string][] = [
    [{}, 'Number of provided children must be 1 or more'],
    [{ voteThreshold: 1, children: [] }, 'Number of provided children must be 1 or more'],
    [{ children: members(1) }, "Parameter 'vote-threshold' expects a value >= 1"],
    [{ voteThreshold: 0, children: members(1) }, 'expects a value >= 1'],
    [{ voteThreshold: 2, children: members(1) }, 'threshold may not exceed children count'],
    [{ voteThreshold: 'x', children: members(1) }, "Parameter 'voteThreshold' expects a number"],
    [{ voteThreshold: true, children: members(1) }, "Parameter 'voteThreshold' expects a number"],
    [
      { 'vote-threshold': 1, children: members(1), 'read-pattern': 'x' },
      'Please set read-pattern as fifo or quorum',
    ],
    [
      { voteThreshold: 1, children: members(1), blkverify: 'x' },
      "Parameter 'blkverify' expects 'on' or 'off'",
    ],
    [
      { voteThreshold: 1, children: members(2), blkverify: 'on' },
      'blkverify=on can only be set if there are exactly two files and vote-threshold is 2',
    ],
    [
      { voteThreshold: 2, children: members(2), blkverify: 'on', rewriteCorrupted: 'on' },
      'rewrite-corrupted=on cannot be used with blkverify=on',
    ],
    [
      { voteThreshold: 1, children: [member(0), member(1, 512)] },
      'Could not refresh total sector count: Input/output error',
    ],
    [
      { voteThreshold: 1, children: members(1), rewriteCorrupted: true, readOnly: true },
      'Block node is read-only',
    ],
    [
      { voteThreshold: 1, children: members(1), foo: 1 },
      "Block format 'quorum' does not support the option 'foo'",
    ],
    [
      { voteThreshold: 1, 'children.0': member(0), 'children.2': member(2) },
      'Option children is not a valid array',
    ],
  ]
  it.each(wrong)('refuses %j', async (options, message) => {
    await expect(open(options)).rejects.toThrow(message)
  })

  it('takes blkverify and rewrite-corrupted for nothing with fifo, as QEMU does', async () => {
    const options = { blkverify: true, rewriteCorrupted: true, readPattern: 'fifo' }
    expect((await open({ voteThreshold: 1, children: members(1), ...options })).node.size).toBe(SIZE)
    expect(() => createQuorum({ onReport: 1 } as never)).toThrow("Parameter 'onReport' expects a function")
  })
})
