import { describe, expect, it } from 'vitest'
import { fromHostError } from '../base/errno.ts'
import { BlockError } from '../base/errors.ts'
import { cow, data, filtered, storage } from '../contract/child-kinds.ts'
import { type BlockDriver, defineDriver, type OpenContext } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockChild, BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import type { Disk as Handle } from '../disk/disk.ts'
import { findNode } from '../graph/environment.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { bool, integer, listOf, oneOf, type RawOptions, text } from '../text/options.ts'
import { openNode } from './open.ts'

/** Files in memory, and a record of what happened to them. */
class Disk {
  readonly files = new Map<string, Uint8Array>()
  readonly refuseWrites = new Set<string>()
  readonly open: string[] = []
  readonly contexts: OpenContext<unknown>[] = []
}

const bytesOf = (content: string): Uint8Array => new TextEncoder().encode(content)

/** The `file` protocol over a {@link Disk}. */
const fileDriver = (disk: Disk) =>
  defineDriver({
    name: 'file',
    kind: 'protocol',
    options: { filename: text('name'), locking: oneOf(['on', 'off', 'auto'], 'locks', 'auto') },
    open(context) {
      const { filename = '' } = context.options
      disk.contexts.push(context)
      const content = disk.files.get(filename)
      const refuse = (code: string) => Promise.reject(fromHostError({ code }, `Could not open '${filename}'`))
      if (!content) return refuse('ENOENT')
      if (!context.readOnly && disk.refuseWrites.has(filename)) return refuse('EACCES')
      disk.open.push(filename)
      return Promise.resolve<NodeOps>({
        growable: true,
        size: () => content.length,
        read: async (offset, into) => void into.set(content.subarray(offset, offset + into.length)),
        write: async (offset, from) => content.set(from, offset),
        close: async () => void disk.open.splice(disk.open.indexOf(filename), 1),
      })
    },
  })

const forward = (file: BlockChild): NodeOps => ({
  size: () => file.size,
  read: (offset, into) => file.read(offset, into),
  write: (offset, from) => file.write(offset, from),
})

/** A format that reads `LAYER <backing> <format>` from its file. */
const layerDriver = (disk: Disk) =>
  defineDriver({
    name: 'layer',
    kind: 'format',
    options: {
      lazy: bool('lazy', false),
      depth: integer('depth'),
      rules: listOf({ event: text('event') }, 'rules'),
      'overlap.template': text('template'),
    },
    mutableOptions: ['lazy'],
    children: { file: storage, backing: cow, 'data-file': data },
    probe: (head) => (new TextDecoder().decode(head).startsWith('LAYER') ? 100 : 0),
    async open(context) {
      disk.contexts.push(context)
      const file = await context.requireChild('file')
      const head = new Uint8Array(Math.min(64, file.size))
      await file.read(0, head)
      const [magic, backing, format] = new TextDecoder().decode(head).trim().split(' ')
      if (magic !== 'LAYER') throw new BlockError('EFORMAT', 'Image is not in layer format')
      if (magic.length && backing === '!repaired') {
        context.events.repair({
          corruptions: 0,
          leaks: 0,
          corruptionsFixed: 1,
          leaksFixed: 0,
          checkErrors: 0,
        })
        context.events.warn('repaired it')
      }
      const implicit = backing && !backing.startsWith('!') ? { filename: backing, driver: format } : undefined
      await context.child('backing', implicit)
      return forward(file)
    },
  })

const rawDriver = (disk: Disk) =>
  defineDriver({
    name: 'raw',
    kind: 'format',
    options: { offset: integer('offset') },
    probe: () => 1,
    async open(context) {
      disk.contexts.push(context)
      return forward(await context.requireChild('file'))
    },
  })

const debugDriver = (disk: Disk) =>
  defineDriver({
    name: 'debug',
    kind: 'filter',
    prefixes: ['debug'],
    options: { config: text('rules') },
    children: { image: filtered },
    parseFilename(filename) {
      const [, config, ...rest] = filename.split(':')
      return { config, image: { filename: rest.join(':') } }
    },
    async open(context) {
      disk.contexts.push(context)
      return forward(await context.requireChild('image'))
    },
  })

const filterDriver = defineDriver({
  name: 'filter',
  kind: 'filter',
  open: async (context) => forward(await context.requireChild('file')),
})

const nullDriver = defineDriver({
  name: 'null-co',
  kind: 'protocol',
  prefixes: ['null-co'],
  options: { size: integer('size', 1024) },
  parseFilename: () => ({}),
  open: ({ options }) =>
    Promise.resolve<NodeOps>({ size: () => options.size, read: async (_, into) => void into.fill(0) }),
})

/** A disk with the named files, and an environment to open them. */
function setup(files: Readonly<Record<string, string>> = {}) {
  const disk = new Disk()
  for (const [name, content] of Object.entries(files)) disk.files.set(name, bytesOf(content))
  const warnings: string[] = []
  const repairs: string[] = []
  const drivers: BlockDriver<never, never>[] = [
    fileDriver(disk),
    rawDriver(disk),
    layerDriver(disk),
    debugDriver(disk),
    filterDriver,
    nullDriver,
  ] as never
  const environment: OpenEnvironment = {
    registry: new DriverRegistry(drivers),
    host: {
      resolve: ({ filename, driver }) =>
        Promise.resolve({ filename, ...(driver === undefined ? {} : { driver }) }),
    },
    onWarn: (line) => warnings.push(line),
    onRepair: (_, name) => repairs.push(name),
  }
  const open = (options: RawOptions | string): Promise<Handle> => openNode(environment, options)
  const failure = async (options: RawOptions | string): Promise<string> => {
    const error = await open(options).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(BlockError)
    return (error as BlockError).message
  }
  return { disk, environment, open, failure, warnings, repairs }
}

const drivers = (node: BlockNode): string =>
  node.file ? `${node.driver.name}>${drivers(node.file.node)}` : node.driver.name

describe('opening by file name', () => {
  it('opens the file and probes it', async () => {
    const { open } = setup({ a: 'LAYER', b: 'x', empty: '' })
    expect(drivers(await open('a'))).toBe('layer>file')
    expect(drivers(await open('b'))).toBe('raw>file')
    expect(drivers(await open({ filename: 'empty' }))).toBe('raw>file')
  })

  it('takes what comes before the first colon as a protocol, unless a slash comes first', async () => {
    const { open, failure } = setup({ a: 'LAYER', './x:y': 'x', 'x:y': 'x' })
    expect((await open('file:a')).filename).toBe('a')
    expect((await open('./x:y')).filename).toBe('./x:y')
    expect((await open('file:x:y')).filename).toBe('./x:y')
    expect(drivers(await open('null-co://'))).toBe('raw>null-co')
    expect(await failure('x:y')).toBe("Unknown protocol 'x'")
  })

  it('takes a name given as an option of the file literally', async () => {
    const { open } = setup({ 'x:y': 'LAYER' })
    expect(drivers(await open({ 'file.filename': 'x:y' }))).toBe('layer>file')
    expect(drivers(await open({ driver: 'file', filename: 'x:y' }))).toBe('file')
  })

  it('makes the name the file of a format and the probed child of a filter', async () => {
    const { open } = setup({ a: 'LAYER' })
    expect(drivers(await open({ driver: 'raw', filename: 'a' }))).toBe('raw>file')
    expect(drivers(await open({ driver: 'filter', filename: 'a' }))).toBe('filter>layer>file')
    expect(drivers(await open({ driver: 'null-co', filename: 'null-co://' }))).toBe('null-co')
  })

  it('lets a driver parse its prefix, and the name within', async () => {
    const { open } = setup({ a: 'LAYER' })
    const node = await open('debug:rules:a')
    expect(drivers(node)).toBe('layer>debug>file')
    expect(node.file?.node.filename).toBe('debug:rules:a')
    expect(drivers(await open('debug:rules:null-co://'))).toBe('raw>debug>null-co')
  })

  it('reads json: with nested and dotted keys, which options given beside it override', async () => {
    const { open, failure } = setup({ a: 'LAYER', b: 'x' })
    const node = await open(
      `json:{'driver':'layer','file.driver':'file','file':{'filename':'a'},'lazy':'on'}`,
    )
    expect(drivers(node)).toBe('layer>file')
    const other = await open({
      driver: 'raw',
      file: { filename: 'b' },
      filename: 'json:{"driver":"layer","file":{"filename":"a"}}',
    })
    expect([drivers(other), other.filename]).toEqual(['raw>file', 'b'])
    expect(await failure('json:[1]')).toBe('Invalid JSON object given')
    expect(await failure('json:{"a"')).toBe(
      'Could not parse the JSON options: JSON parse error, premature EOI',
    )
    expect(await failure('json:{"file.filename":"a","check-mode":true}')).toBe(
      "Invalid parameter 'check-mode'",
    )
  })
})

describe('what cannot be opened is told as QEMU tells it', () => {
  const files = { a: 'LAYER', b: 'x', up: 'LAYER none layer', badformat: 'LAYER a foo' }
  it.each<[RawOptions | string, string]>([
    [{ driver: 'foo' }, "Unknown driver 'foo'"],
    [{}, 'Must specify either driver or file'],
    [{ a: 'on' }, 'Must specify either driver or file'],
    [{ driver: 'raw' }, 'A block device must be specified for "file"'],
    [{ driver: 'raw', file: null }, 'A block device must be specified for "file"'],
    [{ driver: 'file' }, "The 'file' block driver requires a file name"],
    [{ driver: 'raw', file: 'none' }, "Cannot find device='none' nor node-name='none'"],
    [
      { driver: 'raw', file: 'none', 'file.driver': 'file' },
      'Cannot reference an existing block device with additional options or a new filename',
    ],
    [{ filename: 'a', 'file.filename': 'b' }, `Can't specify 'file' and 'filename' options at the same time`],
    [{ 'file.filename': 'a', foo: 1 }, "Block format 'layer' does not support the option 'foo'"],
    [{ 'file.filename': 'a', 'foo.bar': 1 }, "Block format 'layer' does not support the option 'foo.bar'"],
    [{ 'file.filename': 'a', 'file.foo': 1 }, "Block protocol 'file' doesn't support the option 'foo'"],
    [{ filename: 'a', 'cache.foo': 1 }, "Block format 'layer' does not support the option 'cache.foo'"],
    [
      { filename: 'a', 'file.cache.writeback': 1, file: { filename: 'a' } },
      `Can't specify 'file' and 'filename' options at the same time`,
    ],
    [
      { 'file.filename': 'a', 'file.cache.writeback': 'on' },
      "Block protocol 'file' doesn't support the option 'cache.writeback'",
    ],
    [{ filename: 'a', checkMode: 'on' }, "Block format 'layer' does not support the option 'checkMode'"],
    [
      { filename: 'a', 'data-file.filename': 'b' },
      "Block format 'layer' does not support the option 'data-file.filename'",
    ],
    [{ driver: 'raw', filename: 'a', 'backing.driver': 'null-co' }, "Driver doesn't support backing files"],
    [{ filename: 'b', backing: 'x' }, "Driver doesn't support backing files"],
    [{ driver: 'layer', filename: 'b' }, 'Image is not in layer format'],
    [{ filename: 'a', discard: 'foo' }, 'Invalid discard option'],
    [{ filename: 'a', detectZeroes: 'foo' }, 'invalid parameter value: foo'],
    [
      { filename: 'a', detectZeroes: 'unmap' },
      'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap',
    ],
    [{ filename: 'a', readOnly: 'foo' }, "Parameter 'readOnly' expects 'on' or 'off'"],
    [{ filename: 'a', lazy: '1' }, "Parameter 'lazy' expects 'on' or 'off'"],
    [{ filename: 'a', forceShare: true }, 'force-share=on can only be used with read-only images'],
    [{ filename: 'a', nodeName: '1x' }, "Invalid node-name: '1x'"],
    [
      { filename: 'a', nodeName: 'q', file: { driver: 'file', filename: 'a', nodeName: 'q' } },
      `Can't specify 'file' and 'filename' options at the same time`,
    ],
    [
      { driver: 'layer', nodeName: 'q', file: { driver: 'file', filename: 'a', nodeName: 'q' } },
      "Duplicate nodes with node-name='q'",
    ],
    [{ filename: 'a', 'x.__proto__': 1 }, "Invalid parameter '__proto__'"],
    ['nope', "Could not open 'nope': No such file or directory"],
    ['up', "Could not open backing file: Could not open 'none': No such file or directory"],
    ['badformat', "Could not open backing file: Unknown driver 'foo'"],
    [
      { filename: 'a', backing: 'foo' },
      "Could not open backing file: Cannot find device='foo' nor node-name='foo'",
    ],
  ])('%j', async (options, message) => {
    const { failure, disk } = setup(files)
    expect(await failure(options)).toBe(message)
    expect(disk.open).toEqual([])
  })

  it('gives the names of failed nodes free again', async () => {
    const { open, failure } = setup({ a: 'LAYER' })
    await failure({ driver: 'layer', filename: 'a', nodeName: 'top', foo: 1 })
    await failure({ driver: 'layer', filename: 'a', nodeName: 'top', lazy: 7 })
    expect((await open({ filename: 'a', nodeName: 'top' })).name).toBe('top')
  })
})

describe('names of nodes', () => {
  it('are counted from the bottom, per environment, and free again once closed', async () => {
    const { environment, open } = setup({ a: 'LAYER' })
    const node = await open('a')
    expect([node.file?.node.name, node.name]).toEqual(['#block000', '#block001'])
    expect(findNode(environment, '#block001')).toBe(linkedNode(node))
    await node.close()
    expect(() => findNode(environment, '#block001')).toThrow("Cannot find device='#block001'")
    expect((await setup({ a: 'x' }).open('a')).name).toBe('#block001')
  })

  it('refer to open nodes, which outlive their parents', async () => {
    const { disk, open } = setup({ a: 'LAYER' })
    const file = await open({ driver: 'file', filename: 'a', nodeName: 'f' })
    const node = await open({ driver: 'layer', file: 'f' })
    expect(node.file?.node).toBe(linkedNode(file))
    await expect(file.close()).rejects.toThrow("'a' is in use by 'a' (layer)")
    await node.close()
    expect(disk.open).toEqual(['a'])
    const again = await open({ file })
    expect(drivers(again)).toBe('layer>file')
  })
})

describe('file names of nodes', () => {
  it('are those of the file, while it would be opened in the same way again', async () => {
    const { open } = setup({ a: 'LAYER b raw', b: 'x' })
    const node = await open({ filename: 'a', lazy: 'on' })
    expect([node.filename, node.backing?.filename]).toEqual(['a', 'b'])
    expect(
      (await open({ filename: 'a', 'backing.driver': 'raw', 'backing.file.filename': 'b' })).filename,
    ).toMatch(/^json:/)
    expect((await open({ driver: 'raw', filename: 'b', offset: 1 })).filename).toBe(
      'json:{"offset": 1, "driver": "raw", "file": {"driver": "file", "filename": "b"}}',
    )
    expect((await open({ filename: 'a', backing: null })).filename).toBe(
      'json:{"backing": null, "driver": "layer", "file": {"driver": "file", "filename": "a"}}',
    )
    expect((await open({ driver: 'filter', filename: 'b' })).filename).toBe(
      'json:{"driver": "filter", "file": {"driver": "raw", "file": {"driver": "file", "filename": "b"}}}',
    )
    expect((await open('null-co://')).filename).toBe('null-co://')
    expect((await open({ driver: 'null-co', size: 5 })).filename).toBe(
      'json:{"driver": "null-co", "size": 5}',
    )
  })
})

describe('what children inherit', () => {
  const modes = (node: BlockNode) => {
    const { readOnly, direct, noFlush, unmap, detectZeroes, checkMode } = linkedNode(node).config
    return { readOnly, direct, noFlush, unmap, detectZeroes, checkMode }
  }

  it('is how to open, not what the top alone does', async () => {
    const { open } = setup({ a: 'LAYER b raw', b: 'x' })
    const node = await open({
      filename: 'a',
      cache: { direct: true, noFlush: 'on', writeback: false },
      detectZeroes: 'on',
      checkMode: true,
    })
    const top = {
      readOnly: false,
      direct: true,
      noFlush: true,
      unmap: false,
      detectZeroes: 'on',
      checkMode: true,
    }
    const file = { ...top, unmap: true, detectZeroes: 'off', checkMode: false }
    expect(modes(node)).toEqual(top)
    expect(node.writeCache).toBe(false)
    expect(modes(node.file!.node)).toEqual(file)
    expect(modes(node.backing!.node)).toEqual({ ...file, readOnly: true })
    expect(modes(node.backing!.node.file!.node)).toEqual({ ...file, readOnly: true })
  })

  it('gives way to what they are told themselves', async () => {
    const { open } = setup({ a: 'LAYER b raw', b: 'x' })
    const node = await open({
      filename: 'a',
      'cache.direct': 'on',
      'backing.read-only': false,
      'backing.cache.direct': false,
      'backing.discard': 'off',
    })
    expect(modes(node.backing!.node)).toMatchObject({ readOnly: false, direct: false, unmap: false })
    expect(node.backing!.node.filename).toBe('b')
  })

  it('is read-only below a read-only format, and never writable above a read-only file', async () => {
    const { open, failure, disk } = setup({ a: 'LAYER' })
    expect((await open({ filename: 'a', readOnly: 'on' })).file?.readOnly).toBe(true)
    expect(await failure({ 'file.filename': 'a', 'file.read-only': 'on' })).toBe('Block node is read-only')
    disk.refuseWrites.add('a')
    expect(await failure('a')).toBe("Could not open 'a': Permission denied")
    const node = await open({ filename: 'a', autoReadOnly: true })
    expect([node.readOnly, node.file?.readOnly]).toEqual([true, true])
  })

  it('tells drivers how they are opened', async () => {
    const { open, disk } = setup({ a: 'LAYER' })
    await open({ filename: 'a', readOnly: 'on', forceShare: 'on', 'cache.direct': 'on' })
    const [file, layer] = disk.contexts
    expect(file).toMatchObject({
      nodeName: '#block000',
      filename: 'a',
      readOnly: true,
      direct: true,
      forceShare: true,
      unmap: true,
      probed: false,
    })
    expect(layer).toMatchObject({ nodeName: '#block001', filename: 'a', probed: true, unmap: false })
  })
})

describe('probing', () => {
  it('tells a driver whether it was guessed, and what would be guessed instead', async () => {
    const { open, disk } = setup({ b: 'x' })
    await open('b')
    await open({ driver: 'raw', filename: 'b' })
    const [, guessed, , told] = disk.contexts
    expect([guessed?.probed, told?.probed]).toEqual([true, false])
    const nothing = new Uint8Array(0)
    expect(guessed?.otherFormat(bytesOf('LAYER'), nothing)).toBe('layer')
    expect(guessed?.otherFormat(bytesOf('KDMV'), nothing)).toBe('vmdk')
    expect(guessed?.otherFormat(bytesOf('other'), nothing)).toBeUndefined()
  })
})

describe('backing files', () => {
  it('are opened down the chain, in the format that the image names or the user does', async () => {
    const { open } = setup({ a: 'LAYER b layer', b: 'LAYER c', c: 'x' })
    const node = await open('a')
    expect([node.backing?.filename, node.backing?.node.backing?.node.driver.name]).toEqual(['b', 'raw'])
    const other = await open({ filename: 'a', backing: { driver: 'raw' } })
    expect([drivers(other.backing!.node), other.backing?.filename]).toEqual(['raw>file', 'b'])
    expect((await open({ filename: 'a', backing: null })).backing).toBeUndefined()
    await node.close()
    await other.close()
  })

  it('must not form a loop, nor a chain without end', async () => {
    const endless = Object.fromEntries(
      Array.from({ length: 210 }, (_, i) => [`n${i}`, `LAYER n${i + 1} layer`]),
    )
    const { failure, disk } = setup({
      a: 'LAYER b layer',
      b: 'LAYER a layer',
      self: 'LAYER self layer',
      ...endless,
    })
    expect(await failure('self')).toBe(
      "Could not open backing file: Backing file 'self' creates an infinite loop.",
    )
    expect(await failure('a')).toMatch(/Backing file 'a' creates an infinite loop\.$/)
    expect(await failure('n0')).toMatch(/The backing chain is longer than 200 images$/)
    expect(disk.open).toEqual([])
  })

  it('are not opened against the will of the host', async () => {
    const { environment, disk } = setup({ a: 'LAYER b raw', b: 'x' })
    const closed = { ...environment, host: denyHost }
    await expect(openNode(closed, 'a')).rejects.toMatchObject({ code: 'EACCES' })
    expect(disk.open).toEqual([])
    expect(drivers(await openNode(closed, { filename: 'a', backing: null }))).toBe('layer>file')
  })

  it('left out with an empty string get a warning', async () => {
    const { open, warnings } = setup({ a: 'LAYER b raw' })
    expect((await open({ filename: 'a', backing: '' })).backing).toBeUndefined()
    expect(warnings).toEqual(['warning: Use of "backing": "" is deprecated; use "backing": null instead'])
  })
})

describe('events', () => {
  it('made while opening reach the environment, and later ones also the node', async () => {
    const { open, warnings, repairs, disk } = setup({ a: 'LAYER !repaired' })
    const node = await open('a')
    expect([warnings, repairs]).toEqual([['repaired it'], [node.name]])
    const heard: string[] = []
    node.on('warn', (line) => heard.push(line))
    disk.contexts[1]?.events.warn('later')
    expect([heard, warnings]).toEqual([['later'], ['repaired it', 'later']])
  })
})
