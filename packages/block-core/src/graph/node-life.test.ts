import { describe, expect, it, vi } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { nodeOf } from '../testing/nodes.ts'

const turns = async (count = 20): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

/** A disk whose requests end when the test says so. */
function heldDisk(more: Partial<NodeOps> = {}) {
  const asked: string[] = []
  const held: (() => void)[] = []
  const hold = (what: string) => () => {
    asked.push(what)
    return new Promise<void>((resolve) => held.push(resolve))
  }
  const ops: NodeOps = {
    size: () => 65536,
    read: hold('read'),
    write: hold('write'),
    flush: hold('flush'),
    ...more,
  }
  return {
    ops,
    asked,
    /** Ends the oldest request. */
    release: () => held.shift()!(),
  }
}

const BYTE = Uint8Array.of(1)

describe('draining', () => {
  it('waits for what is in flight', async () => {
    const { ops, release } = heldDisk()
    const node = nodeOf(ops)
    const drained = vi.fn()
    const write = node.write(0, BYTE)
    const read = node.read(0, new Uint8Array(1))
    const drain = node.drain().then(drained)
    release()
    await write
    await turns()
    expect(drained).not.toHaveBeenCalled()
    release()
    await Promise.all([read, drain])
  })

  it('with a body holds new requests back until the body is done', async () => {
    const { ops, asked, release } = heldDisk()
    const node = nodeOf(ops)
    const first = node.write(0, BYTE)
    let end!: () => void
    const body = vi.fn(() => new Promise<string>((resolve) => (end = () => resolve('result'))))
    const drained = node.drained(body)
    const second = node.read(0, new Uint8Array(1))
    await turns()
    expect(body).not.toHaveBeenCalled()
    release()
    await first
    await turns()
    expect(body).toHaveBeenCalled()
    expect(asked).toEqual(['write'])
    end()
    expect(await drained).toBe('result')
    await turns()
    expect(asked).toEqual(['write', 'read'])
    release()
    await second
  })

  it('twice lets no request into the second body that waited for the first', async () => {
    const { ops, asked, release } = heldDisk()
    const node = nodeOf(ops)
    const ends: (() => void)[] = []
    const body = () => new Promise<void>((resolve) => ends.push(resolve))
    const first = node.drained(body)
    const second = node.drained(body)
    const read = node.read(0, new Uint8Array(1))
    await turns()
    ends[0]!()
    await first
    await turns()
    expect(ends).toHaveLength(2)
    expect(asked).toEqual([])
    ends[1]!()
    await second
    await turns()
    release()
    await read
  })

  it('goes on after a body that fails', async () => {
    const { ops, release } = heldDisk()
    const node = nodeOf(ops)
    await expect(node.drained(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    const read = node.read(0, new Uint8Array(1))
    await turns()
    release()
    await read
  })
})

describe('closing', () => {
  it('is refused with EBUSY while another node uses it', async () => {
    const file = nodeOf(heldDisk().ops, { name: 'disk' })
    const format = nodeOf(heldDisk().ops, { name: 'image', children: { file } }, 'format')
    await expect(file.close()).rejects.toMatchObject({
      code: 'EBUSY',
      message: "node 'disk' is in use by node 'image'",
    })
    expect(file.isOpen).toBe(true)
    await format.close()
    expect(file.isOpen).toBe(true)
    await file.close()
    expect(file.isOpen).toBe(false)
  })

  it('that failed says so whenever it is asked, by whichever user', async () => {
    const failure = new Error('no space for the last table')
    const file = nodeOf(heldDisk({ close: () => Promise.reject(failure) }).ops, {
      config: { closesUnused: true },
    })
    const format = nodeOf(heldDisk().ops, { children: { file } }, 'format')
    for (const node of [format, file, format]) {
      await expect(node.close()).rejects.toBe(failure)
      await expect(node[Symbol.asyncDispose]()).rejects.toBe(failure)
    }
    await format.crash()
    await expect(format.close()).rejects.toBe(failure)
  })

  it('closes a node that was opened for its parents with the last of them', async () => {
    const file = nodeOf(heldDisk().ops, { config: { closesUnused: true } })
    const [one, two] = [1, 2].map(() => nodeOf(heldDisk().ops, { children: { file } }, 'format'))
    await one!.close()
    expect(file.isOpen).toBe(true)
    await two!.close()
    expect(file.isOpen).toBe(false)
  })

  it('limits what requests wait for, here and in what is open for this node alone', async () => {
    const said: string[] = []
    const patient = (name: string): NodeOps => ({
      ...heldDisk().ops,
      setPatience: (patience) => said.push(`${name} ${patience}`),
    })
    const config = { closesUnused: true }
    const [own, shared] = ['own', 'shared'].map((name) => nodeOf(patient(name), { config }))
    const users = nodeOf(patient('users'))
    const format = nodeOf(patient('format'), { children: { file: own!, backing: shared! } }, 'format')
    const other = nodeOf(heldDisk().ops, { children: { file: shared! } }, 'format')
    const filter = nodeOf({ ...heldDisk().ops }, { children: { file: users } }, 'filter')
    format.setPatience('none')
    format.setPatience('usual')
    expect(said.splice(0)).toEqual(['format none', 'own none', 'format usual', 'own usual'])
    await format.close()
    expect(said.splice(0)).toEqual(['format limited', 'own limited', 'own limited'])
    await Promise.all([other.close(), filter.close()])
    expect(said).toEqual(['shared limited', 'shared limited'])
  })

  it('asks the driver once, after what is in flight, and lets nothing in meanwhile', async () => {
    let closed!: () => void
    const close = vi.fn(() => new Promise<void>((resolve) => (closed = resolve)))
    const { ops, release } = heldDisk({ close })
    const node = nodeOf(ops)
    const write = node.write(0, BYTE)
    const closing = [node.close(), node.close()]
    await turns()
    expect(close).not.toHaveBeenCalled()
    release()
    await write
    await turns()
    await expect(node.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    closed()
    await Promise.all(closing)
    expect(close).toHaveBeenCalledTimes(1)
  })

  it('refuses a request that comes while an idle node has begun to close', async () => {
    const { ops, asked } = heldDisk({ close: () => turns() })
    const node = nodeOf(ops)
    const closing = node.close()
    await expect(node.write(0, BYTE)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await closing
    expect(asked).toEqual([])
  })

  it('gives up the children although the driver failed, and tells the failure', async () => {
    const file = nodeOf(heldDisk().ops, { config: { closesUnused: true } })
    const close = () => Promise.reject(new Error('cannot write the header'))
    const node = nodeOf(heldDisk({ close }).ops, { children: { file } }, 'format')
    await expect(node.close()).rejects.toThrow('cannot write the header')
    expect([node.isOpen, file.isOpen]).toEqual([false, false])
  })

  it('of a node with a fatal corruption does not ask the driver to write', async () => {
    const close = vi.fn(async () => {})
    const node = nodeOf(heldDisk({ close }).ops)
    const heard = vi.fn()
    node.on('corrupt', heard)
    node.markCorrupt({ message: 'overlap', fatal: true })
    expect(heard).toHaveBeenCalledTimes(1)
    await expect(node.write(0, BYTE)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await node.close()
    expect(close).not.toHaveBeenCalled()
  })
})

describe('a crash', () => {
  const canceled = (promise: Promise<unknown>): Promise<void> =>
    expect(promise).rejects.toMatchObject({ code: 'ECANCELED' })

  it('rejects what is in flight, and closes nothing cleanly', async () => {
    const close = vi.fn(async () => {})
    const released = vi.fn()
    const { ops, asked, release } = heldDisk({ close, crash: released })
    const node = nodeOf(ops)
    const write = canceled(node.write(0, BYTE))
    await node.crash()
    release()
    await write
    await canceled(node.flush())
    await canceled(node.read(0, new Uint8Array(1)))
    await node.close()
    expect(close).not.toHaveBeenCalled()
    expect(released).toHaveBeenCalledTimes(1)
    expect(asked).toEqual(['write'])
  })

  it('between the steps of a request ends it there', async () => {
    const { ops, asked, release } = heldDisk({ limits: { requestAlignment: 512 } })
    const node = nodeOf(ops)
    const write = canceled(node.write(1, BYTE))
    await turns()
    await node.crash()
    release()
    await write
    expect(asked).toEqual(['read'])
    const split = heldDisk({ limits: { maxTransfer: 1 } })
    const other = nodeOf(split.ops)
    const two = canceled(other.write(0, Uint8Array.of(1, 2)))
    await turns()
    await other.crash()
    split.release()
    await two
    expect(split.asked).toEqual(['write'])
  })

  it('lets a flush that waits for another not begin', async () => {
    const { ops, asked, release } = heldDisk()
    const node = nodeOf(ops)
    for (let i = 0; i < 2; i++) {
      const write = node.write(0, BYTE)
      await turns()
      if (i === 0) release()
      else void write.catch(() => undefined)
      if (i === 0) await write
    }
    const flush = canceled(node.flush())
    await turns()
    await node.crash()
    release()
    release()
    await flush
    expect(asked).toEqual(['write', 'write', 'flush'])
  })

  it('lets what waits behind a drained body fail', async () => {
    const node = nodeOf(heldDisk().ops)
    let end!: () => void
    const body = node.drained(() => new Promise<void>((resolve) => (end = resolve)))
    const read = canceled(node.read(0, new Uint8Array(1)))
    await turns()
    await node.crash()
    end()
    await body
    await read
  })

  it('severs the node from its children, which outlive it unless they were opened for it', async () => {
    const file = nodeOf(heldDisk().ops, { config: { closesUnused: true } })
    const backing = nodeOf(heldDisk().ops)
    const node = nodeOf(heldDisk().ops, { children: { file, backing } }, 'format')
    await node.crash()
    await canceled(node.backing!.write(0, BYTE))
    expect(backing.isOpen).toBe(true)
    expect(file.isOpen).toBe(false)
    await backing.close()
  })

  it('during a clean close ends the node once, as crashed', async () => {
    let closed!: () => void
    const close = () => new Promise<void>((resolve) => (closed = resolve))
    const node: BlockNode = nodeOf(heldDisk({ close }).ops)
    const ended = vi.fn()
    node.on('close', ended)
    const closing = canceled(node.close())
    await turns()
    await node.crash()
    closed()
    await closing
    expect(ended).toHaveBeenCalledTimes(1)
    await canceled(node.flush())
  })

  it('asked for twice waits for its end both times', async () => {
    let end!: () => void
    const node = nodeOf(heldDisk({ crash: () => new Promise<void>((resolve) => (end = resolve)) }).ops)
    const seen: string[] = []
    const both = [node.crash().then(() => seen.push('first')), node.crash().then(() => seen.push('second'))]
    await turns()
    expect(seen).toEqual([])
    end()
    await Promise.all(both)
    expect(seen).toHaveLength(2)
  })
})
