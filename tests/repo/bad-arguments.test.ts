/**
 * Every public function refuses what its declaration does not allow, by one clear error: each argument and each option is
 * given values of every other type, options are misspelled, arguments change places, disks are used after they are closed,
 * and calls are made twice at once. The functions, their parameters and what these allow come from the declared types: a
 * new function without a valid call here fails the test.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as core from '@vmblock/block-core'
import * as filters from '@vmblock/block-core/filters'
import { qcow2 } from '@vmblock/qcow2'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import * as vmblock from 'vmblock'
import { type DeclaredFunction, functionsOf } from './src/declared.ts'

// biome-ignore lint/suspicious/noExplicitAny: calls against the declarations are the point
type Anything = any

const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
afterAll(() => rmSync(directory, { recursive: true }))
let count = 0
const newName = (): string => join(directory, `${count++}.qcow2`)

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** How a function is called rightly: its arguments, and what it is a method of. */
interface Call {
  readonly run: (...args: Anything[]) => unknown
  readonly args: readonly unknown[]
}

const bytes = (): Uint8Array => new Uint8Array(512)
const nothing = (): void => undefined
const environment = {
  registry: new core.DriverRegistry([core.memory, qcow2, core.passThrough]),
  host: core.denyHost,
}

async function newImage(): Promise<string> {
  const name = newName()
  await vmblock.create(name, { size: '1M' })
  return name
}

async function newNode(): Promise<core.Disk> {
  const node = await core.openNode(environment, { driver: 'memory', size: 65536 })
  ends.push(() => node.crash())
  return node
}

async function overlay(): Promise<core.Disk> {
  const [file, backing] = [await newNode(), await newNode()]
  await file.truncate(0)
  await core.formatImage(qcow2, file, { size: 65536 })
  const node = await core.openNode(environment, { driver: 'qcow2', file, backing })
  ends.push(() => node.crash())
  return node
}

async function openDisk(): Promise<vmblock.VirtualDisk> {
  const disk = await vmblock.open(await newImage())
  ends.push(() => disk.node.crash())
  return disk
}

const DISK: Readonly<Record<string, () => readonly unknown[]>> = {
  read: () => [0, bytes()],
  write: () => [0, bytes()],
  writeZeroes: () => [0, 512],
  discard: () => [0, 512],
  flush: () => [],
  resize: () => [2 ** 21],
  extents: () => [{}],
  readable: () => [{}],
  writable: () => [{}],
  slice: () => [0, 512],
  info: () => [],
  check: () => [{}],
  commit: () => [{}],
  compact: () => [{}],
  rebase: () => [null, {}],
  on: () => ['close', nothing],
  close: () => [],
}

const NODE: Readonly<Record<string, () => readonly unknown[] | Promise<readonly unknown[]>>> = {
  ...DISK,
  writeCompressed: () => [0, bytes()],
  copyRange: async () => [0, 512, await newNode(), 0],
  truncate: () => [65536],
  blockStatus: () => [0, 512],
  readVmState: () => [0, bytes()],
  writeVmState: () => [0, bytes()],
  observe: () => [{}],
  listSnapshots: () => [],
  makeEmpty: () => [],
  changeBackingFile: () => ['base', 'raw'],
  amend: () => [{}],
  drain: () => [],
  drained: () => [async () => undefined],
  withoutWrites: () => [async () => undefined],
  can: () => ['write'],
  once: () => ['close', nothing],
  measureLatency: () => [{}],
  setErrorPolicy: () => [{}],
  resume: () => [],
  crash: () => [],
  toString: () => [],
  toJSON: () => [],
}

const FUNCTIONS: Readonly<Record<string, () => Promise<readonly unknown[]>>> = {
  open: async () => [await newImage()],
  create: async () => [newName(), { size: '1M' }],
  convert: async () => [await newImage(), newName()],
  check: async () => [await newImage()],
  info: async () => [await newImage()],
  measure: async () => [{ size: '1M' }],
  setPermissions: async () => [await newNode(), {}],
  createBlkdebug: async () => [{}],
  createBlkverify: async () => [{}],
  createCopyBeforeWrite: async () => [filters.systemClock],
  createQuorum: async () => [{}],
  createThrottle: async () => [new filters.ThrottleGroups()],
  openMemory: async () => [bytes()],
  bitmapsOf: async () => [await overlay()],
  backingOf: async () => [await overlay()],
  chainStatus: async () => [await overlay(), 0, 512],
  skipFilters: async () => [await overlay()],
  snapshotsOf: async () => [await overlay()],
  findNode: async () => [environment, 'none'],
  commitNode: async () => [await overlay()],
  rebaseNode: async () => [await overlay(), { filename: null }],
  copyNodes: async () => [
    { map: await core.CopyMap.of({ sources: [{ node: await newNode() }] }), target: await newNode() },
  ],
  openNode: async () => [environment, { driver: 'memory' }],
  createImage: async () => [environment, { driver: 'qcow2', file: await empty(), size: '1M' }],
  measureImage: async () => [qcow2, { size: '1M' }],
  formatImage: async () => [qcow2, await empty(), { size: '1M' }],
  reopenNode: async () => [await newNode(), {}],
  insertFilter: async () => [await newNode(), { driver: 'pass-through' }],
  removeFilter: async () => [
    await core.openNode(environment, { driver: 'pass-through', file: await newNode() }),
  ],
  replaceNode: async () => [await newNode(), await newNode()],
  writeLogOf: async () => [await newNode()],
}

async function empty(): Promise<core.Disk> {
  const node = await newNode()
  await node.truncate(0)
  return node
}

/** What has no arguments that could be wrong in a way worth an error of its own, with the reason. */
const EXEMPT: Readonly<Record<string, string>> = {
  BlockError: 'is made by drivers, whose mistakes the compiler finds',
  isBlockError: 'answers for any value',
  'Disk.can': 'answers for any value',
  isBlockNode: 'answers for any value',
  messageOf: 'answers for any value',
  throttleGroupsOf: 'answers for any value',
  ThrottleGroups: 'its methods are tested beside it',
  ThrottleGroup: 'made by ThrottleGroups, whose limits are tested beside it',
  DriverRegistry: 'its constructor is tested; looking up is for drivers',
  WriteLog: 'its counters are for tests',
  CopyMap: 'made by `of`, and read by copies',
  Job: 'its methods take a reason, which may be anything',
}

/** A valid call of a function; undefined if none is known. */
async function callOf(title: string, entry: Anything): Promise<Call | undefined> {
  const [owner, method] = title.split('.') as [string, string | undefined]
  if (method === undefined) {
    const args = await FUNCTIONS[title]?.()
    return args && { run: (...given) => entry[title](...given), args }
  }
  const target: Anything = owner === 'VirtualDisk' ? await openDisk() : await newNode()
  const args = await (owner === 'VirtualDisk' ? DISK : NODE)[method]?.()
  return args && { run: (...given) => target[method](...given), args }
}

/** Parameters whose object types are places, bytes or nodes: what may stand in them is tested where they are read. */
const NO_OPTIONS = /^(source|target|into|from|bytes|observer|map|file|options_)$/

async function refusal(run: () => unknown): Promise<unknown> {
  try {
    const result: Anything = await run()
    // What opened all the same is closed.
    await result?.close?.()
    return 'nothing'
  } catch (error) {
    return error
  }
}

/** Where QEMU's words call an option by another name. */
const QEMUS_WORD: Readonly<Record<string, string>> = {
  compat: "'version'",
  detectZeroes: 'parameter value',
}

/** One clear error that names what is wrong. */
const named = (name: string) => ({
  name: 'BlockError',
  code: 'EINVAL',
  message: expect.stringMatching(new RegExp(`${name}|${QEMUS_WORD[name] ?? name}`)),
})

const isGroup = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'noSuchOption' in value

const shownValue = (value: unknown): string => (typeof value === 'symbol' ? 'a symbol' : typeof value)

describe.each([
  ['vmblock', vmblock as Anything, ['VirtualDisk'], 11],
  ['@vmblock/block-core', core as Anything, ['Disk'], 11],
  ['@vmblock/block-core/filters', filters as Anything, [], 4],
] as const)('%s', (name, entry, classes, least) => {
  const functions = functionsOf(name, classes).filter(
    ({ title }) =>
      [title, title.replace(/^new /, '').split('.')[0]!].every((name) => EXEMPT[name] === undefined) &&
      !title.includes('#'),
  )

  it('has functions, and a valid call of each is known', async () => {
    expect(functions.length).toBeGreaterThanOrEqual(least)
    const unknown: string[] = []
    for (const { title } of functions) if (!(await callOf(title, entry))) unknown.push(title)
    expect(unknown).toEqual([])
  })

  describe.each(functions.filter(({ parameters }) => parameters.length > 0))('$title', (declared) => {
    it('refuses arguments of every other type', async () => {
      const call = (await callOf(declared.title, entry))!
      for (const [index, { name, wrong }] of declared.parameters.entries())
        for (const value of wrong) {
          // A handle passes on events whose names only its own types know.
          if (name === 'event' && value === 'text') continue
          const given = [...call.args]
          given[index] = value
          const error = await refusal(() => call.run(...given))
          const title = `${name}: ${shownValue(value)}`
          expect(error, title).toMatchObject({ name: 'BlockError', code: 'EINVAL' })
          // An object is refused for what it lacks, or has too much.
          const names = typeof value === 'object' ? [name, 'noSuchOption', 'registry'] : [name]
          const { message } = error as Error
          expect(
            names.some((word) => message.includes(word)),
            `${title}: ${message}`,
          ).toBe(true)
        }
    })

    it('refuses options of every other type, and misspelled ones', async () => {
      const call = (await callOf(declared.title, entry))!
      for (const [index, { name, options }] of declared.parameters.entries()) {
        if (options.length === 0 || NO_OPTIONS.test(name)) continue
        const valid = (call.args[index] ?? {}) as object
        // What else belongs to an environment is the application's.
        const tries: [option: string, value: unknown][] = name === 'environment' ? [] : [['noSuchOption', 1]]
        for (const option of options) for (const value of option.wrong) tries.push([option.name, value])
        for (const [option, value] of tries) {
          // An option that is undefined counts as absent; nodes below have options of their own.
          if (value === undefined || (isGroup(value) && /^(file|backing|dataFile)$/.test(option))) continue
          const given = [...call.args]
          given[index] = { ...valid, [option]: value }
          expect(await refusal(() => call.run(...given)), `${option}: ${shownValue(value)}`).toMatchObject(
            named(option),
          )
        }
      }
    })

    it('refuses arguments in the wrong order', async () => {
      const call = (await callOf(declared.title, entry))!
      for (let first = 0; first + 1 < call.args.length; first++) {
        const given = [...call.args]
        ;[given[first], given[first + 1]] = [given[first + 1], given[first]]
        if (typeof given[first] === typeof given[first + 1]) continue
        expect(await refusal(() => call.run(...given))).toMatchObject({ name: 'BlockError', code: 'EINVAL' })
      }
    })
  })

  it.each(methodsOf(functions))('%s after close fails with ENOMEDIUM, or does nothing', async (title) => {
    const [owner, method] = title.split('.') as [string, string]
    const target: Anything = owner === 'VirtualDisk' ? await openDisk() : await newNode()
    const args = await (owner === 'VirtualDisk' ? DISK : NODE)[method]!()
    await target.close()
    const error = await refusal(() => target[method](...args))
    if (error !== 'nothing') expect(error).toMatchObject({ name: 'BlockError', message: expect.any(String) })
    if (/^(read|write|flush|info|slice|resize|truncate)(?!VmState)/.test(method))
      expect(error).toMatchObject({ name: 'BlockError', code: 'ENOMEDIUM' })
  })

  it.each(functions.map(({ title }) => title))('%s twice at once', async (title) => {
    const call = (await callOf(title, entry))!
    const errors = await Promise.all([1, 2].map(() => refusal(() => call.run(...call.args))))
    for (const error of errors) if (error !== 'nothing') expect(error).toMatchObject({ name: 'BlockError' })
  })
})

function methodsOf(functions: readonly DeclaredFunction[]): readonly string[] {
  return functions.map(({ title }) => title).filter((title) => title.includes('.'))
}
