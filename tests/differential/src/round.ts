/**
 * One round: an image of a kind, made on both sides, and random operations on it, after each of which both programs must
 * have said the same, and after some of which both images must be the same.
 * @module
 */
import { join } from 'node:path'
import { createRandom, type Random } from '@vmblock/block-core/testing'
import { bitmapsIn } from './bitmap-content.ts'
import type { Feature, Kind } from './kinds.ts'
import { type Command, type Outcome, Sides } from './sides.ts'

/** A difference, with the operations that led there. */
export class Difference extends Error {}

const SECTOR = 512
const NAME = 'disk.qcow2'
const BASE = 'base.qcow2'
const SNAPSHOTS = ['one', 'two', 'three', '1', '2']
const BITMAPS = ['b0', 'b1', 'b2']
const SECRET = ['--object', 'secret,id=key,data=open sesame']

/** Runs a round with operations of its own. @throws Difference */
export async function runRound(kind: Kind, seed: number, operations: number): Promise<void> {
  const sides = new Sides()
  const round = new Round(kind, createRandom(seed), sides)
  try {
    await round.make()
    for (let i = 0; i < operations; i++) {
      await round.step()
      if (i % 4 === 3 || i === operations - 1) await round.compare()
      if (round.random.chance(0.3)) sides.swap()
    }
  } catch (error) {
    if (error instanceof Error)
      error.message = `${kind.name}, seed ${seed}: ${error.message}\n${round.history()}`
    throw error
  } finally {
    sides.remove()
  }
}

class Round {
  readonly random: Random
  readonly #kind: Kind
  readonly #sides: Sides
  readonly #done: string[] = []
  #size: number
  #snapshots: string[] = []
  /** There may be zero clusters. */
  #hasZeroed = false

  constructor(kind: Kind, random: Random, sides: Sides) {
    this.#kind = kind
    this.random = random
    this.#sides = sides
    this.#size = kind.size ?? kind.cluster * 24 + kind.cluster / 2
  }

  history(): string {
    return this.#done.map((line) => `  ${line}`).join('\n')
  }

  async make(): Promise<void> {
    const { create, isOverlay, isEncrypted } = this.#kind
    if (isOverlay) {
      // A base that differs in size and holds data where the overlay does not. Its clusters are small, so that requests fill them:
      // the rest of one is zeroes in QEMU's file and a hole in ours, and then the overlay need not allocate to zero a part.
      await this.#both('img', [
        'create',
        '-q',
        '-f',
        'qcow2',
        '-o',
        'cluster_size=512',
        BASE,
        String(Math.ceil((this.#size * 0.8) / SECTOR) * SECTOR),
      ])
      await this.#both('io', [
        '-f',
        'qcow2',
        '-c',
        `write -P 77 0 ${Math.floor(this.#size / 2 / SECTOR) * SECTOR}`,
        BASE,
      ])
    }
    const options = Object.entries(create).map(([key, value]) => `${key}=${value}`)
    await this.#both('img', [
      'create',
      '-q',
      ...(isEncrypted ? SECRET : []),
      '-f',
      'qcow2',
      ...(isOverlay ? ['-b', BASE, '-F', 'qcow2'] : []),
      ...(options.length > 0 ? ['-o', options.join(',')] : []),
      NAME,
      String(this.#size),
    ])
    // From the beginning, so that every round has one that requests make dirty.
    if (this.#can('bitmaps')) await this.#addBitmap('b0', this.random.pick(['512', '4k', '64k']))
  }

  #can(feature: Feature): boolean {
    return !this.#kind.without?.includes(feature)
  }

  /** One random operation. */
  async step(): Promise<unknown> {
    const { random } = this
    const dice = random.int(0, 100)
    if (dice < 52) return this.#requests()
    if (dice < 66 && this.#can('snapshots')) return this.#snapshot()
    if (dice < 76 && this.#can('bitmaps')) return this.#bitmap()
    if (dice < 82) return this.#resize()
    if (dice < 88) return this.#amend()
    if (dice < 92 && this.#kind.isOverlay) return this.#commit()
    if (dice < 95) return this.#compact()
    if (dice < 98) return this.#both('img', ['info', NAME])
    return this.#both('img', ['snapshot', '-l', NAME])
  }

  /** A session of qemu-io with a few requests. */
  #requests(): Promise<unknown> {
    const lines: string[] = []
    for (let i = this.random.int(1, 6); i > 0; i--) lines.push(...this.#request())
    const session = withoutLateCompression(lines).flatMap((line) => ['-c', line])
    return this.#both('io', [...this.#disk(), ...session, ...this.#named()])
  }

  #request(): string[] {
    const { random } = this
    const [offset, length] = this.#range()
    const byte = random.int(1, 256)
    const dice = random.int(0, 100)
    if (dice < 40) return [`write -P ${byte} ${offset} ${length}`]
    if (dice < 50) {
      const each = Math.floor(length / 2 / SECTOR) * SECTOR
      if (each > 0)
        return [
          `aio_write -q -P ${byte} ${offset} ${each}`,
          `aio_write -q -P ${byte} ${offset + each} ${each}`,
          'aio_flush',
        ]
    }
    if (dice < 70) this.#hasZeroed = true
    if (dice < 60) return [`write -z ${random.chance(0.5) ? '-u ' : ''}${offset} ${length}`]
    if (dice < 70) return [`discard ${offset} ${length}`]
    if (dice < 82 && this.#can('compressed')) {
      const { cluster } = this.#kind
      const start = Math.floor(offset / cluster) * cluster
      const bytes = Math.min(cluster * random.int(1, 3), this.#size - start)
      return [`write -c -P ${byte} ${start} ${bytes}`]
    }
    if (dice < 90) return [`read ${offset} ${length}`]
    if (dice < 95) return ['flush']
    return [`alloc ${offset} ${length}`]
  }

  #range(): readonly [offset: number, length: number] {
    const { random } = this
    const { cluster } = this.#kind
    const anywhere = random.int(0, this.#size / SECTOR) * SECTOR
    const offset = random.chance(0.5) ? Math.floor(anywhere / cluster) * cluster : anywhere
    const length = random.pick([SECTOR, cluster, 2 * cluster, SECTOR * random.int(1, 20), 4 * cluster])
    return [offset, Math.min(length, this.#size - offset)]
  }

  async #snapshot(): Promise<void> {
    const { random } = this
    const known = this.#snapshots.length > 0 && random.chance(0.9)
    const dice = random.int(0, 10)
    if (dice < 5) {
      const name = random.pick(SNAPSHOTS)
      const made = await this.#onDisk('snapshot', ['-c', name])
      if (made === 0) this.#snapshots.push(name)
      // QEMU leaks what it allocated for it.
      else
        await this.#sides.judgedByQemu({
          program: 'img',
          args: ['check', '-r', 'leaks', ...this.#secret(), ...this.#imageOpts(), ...this.#named()],
        })
      return
    }
    const name = known ? random.pick(this.#snapshots) : 'nope'
    if (dice < 8) {
      const applied = await this.#onDisk('snapshot', ['-a', name])
      if (applied === 0) await this.#readSize()
      return
    }
    const deleted = await this.#onDisk('snapshot', ['-d', name])
    if (deleted === 0) this.#snapshots.splice(this.#snapshots.indexOf(name), 1)
  }

  async #bitmap(): Promise<void> {
    const { random } = this
    const name = random.pick(BITMAPS)
    const action = random.pick(['--add', '--add', '--remove', '--clear', '--enable', '--disable', '--merge'])
    const more =
      action === '--merge'
        ? [random.pick(BITMAPS)]
        : action === '--add' && random.chance(0.4)
          ? ['-g', random.pick(['512', '4k', '64k', '1M'])]
          : []
    await this.#onDisk('bitmap', [action, ...more], [name])
  }

  async #addBitmap(name: string, granularity: string): Promise<void> {
    await this.#onDisk('bitmap', ['--add', '-g', granularity], [name])
  }

  async #resize(): Promise<void> {
    const { random } = this
    const { cluster } = this.#kind
    const most = (this.#kind.size ?? cluster * 24.5) * 1.5
    const size = Math.max(
      Math.floor(random.int(0, most) / (random.chance(0.5) ? cluster : SECTOR)) * SECTOR,
      cluster * 6,
    )
    const before = this.#size
    const shrink = size < before ? ['--shrink'] : []
    const done = await this.#onDisk('resize', ['-q', ...shrink], [String(size)])
    if (done !== 0) return
    this.#size = size
    this.#hasZeroed = true
    // QEMU shows old contents there, and we do not: docs/safer-than-qemu.md.
    if (size > before)
      await this.#both('io', [...this.#disk(), '-c', `write -z ${before} ${size - before}`, ...this.#named()])
  }

  async #amend(): Promise<void> {
    const { random } = this
    const option = random.pick([
      'lazy_refcounts=on',
      'lazy_refcounts=off',
      'compat=1.1',
      'compat=0.10',
      ...(this.#can('widths')
        ? ['refcount_bits=16', `refcount_bits=${random.pick([1, 2, 4, 8, 32, 64])}`]
        : []),
    ])
    // QEMU's writes zeroes where zero clusters have their place, which may belong to a snapshot, too, or is encrypted: other
    // contents, and wrong flags. docs/decisions/005-differs-from-qemu.md
    if (option === 'compat=0.10' && this.#hasZeroed && (this.#kind.isEncrypted || this.#snapshots.length > 0))
      return
    // QEMU's drops them, and we refuse.
    if (option === 'compat=0.10')
      for (const name of this.#can('bitmaps') ? BITMAPS : [])
        await this.#onDisk('bitmap', ['--remove'], [name])
    await this.#onDisk('amend', ['-o', option])
  }

  async #commit(): Promise<void> {
    await this.#both('img', ['commit', '-q', ...(this.random.chance(0.5) ? ['-d'] : []), NAME])
  }

  /** Ours alone: contents are compared afterwards. */
  async #compact(): Promise<void> {
    const command: Command = {
      program: 'img',
      args: ['compact', '-q', ...this.#secret(), ...this.#imageOpts(), ...this.#named()],
    }
    this.#done.push(`ours: ${words(command)}`)
    const { code, text } = await this.#sides.runOurs(command)
    if (code !== 0) throw new Difference(`compact failed: ${text}`)
  }

  /** Both images must be sound, and show the same. */
  async compare(): Promise<void> {
    const disk = [...this.#imageOpts(), ...this.#named()]
    const secret = this.#secret()
    for (const judge of ['judgedByQemu', 'judgedByUs'] as const) {
      const ask = async (...args: string[]): Promise<string> => {
        const command: Command = { program: 'img', args }
        const outcome = await this.#sides[judge](command)
        this.#requireSame(`${judge}: ${words(command)}`, outcome)
        return outcome.ours.text
      }
      const checked = await this.#sides[judge]({
        program: 'img',
        args: ['check', '--output=json', ...secret, ...disk],
      })
      this.#requireSame(`${judge}: check`, {
        ours: withoutPlaces(checked.ours),
        theirs: withoutPlaces(checked.theirs),
      })
      if (/"(corruptions|leaks|check-errors)": [1-9]/.test(checked.ours.text))
        throw new Difference(`an image is broken: ${checked.ours.text}`)
      await ask('info', '--output=json', NAME)
      const mapped = await this.#sides[judge]({
        program: 'img',
        args: ['map', '--output=json', ...secret, ...disk],
      })
      this.#requireSame(`${judge}: map`, {
        ours: withoutOffsets(mapped.ours),
        theirs: withoutOffsets(mapped.theirs),
      })
    }
    await this.#requireSameContent()
    const [ours, theirs] = [
      bitmapsIn(join(this.#sides.ours, NAME)),
      bitmapsIn(join(this.#sides.theirs, NAME)),
    ]
    if (ours !== theirs) throw new Difference(`bitmaps differ\nours:\n${ours}\nQEMU's:\n${theirs}\n`)
  }

  /** The disk, and each snapshot, byte for byte: read by QEMU from both sides. */
  async #requireSameContent(): Promise<void> {
    const secret = this.#secret()
    const from = (side: string): string[] =>
      this.#kind.isEncrypted
        ? [
            '--image-opts',
            `driver=qcow2,encrypt.key-secret=key,file.filename=${side}/${NAME}`,
            `driver=qcow2,encrypt.key-secret=key,file.filename=${this.#sides.theirs}/${NAME}`,
          ]
        : ['-f', 'qcow2', '-F', 'qcow2', `${side}/${NAME}`, `${this.#sides.theirs}/${NAME}`]
    const { theirs } = await this.#sides.run({
      program: 'img',
      args: ['compare', ...secret, ...from(this.#sides.ours)],
    })
    if (theirs.text !== 'Images are identical.\n') throw new Difference(`the disks differ: ${theirs.text}`)
    for (const name of new Set(this.#snapshots)) {
      const args = [
        'convert',
        '-l',
        `snapshot.name=${name}`,
        '-O',
        'raw',
        ...secret,
        ...this.#imageOpts(),
        ...this.#named(),
        'snapshot.raw',
      ]
      const outcome = await this.#sides.judgedByQemu({ program: 'img', args })
      this.#requireSame(`snapshot ${name}`, outcome)
      if (outcome.ours.code !== 0) continue
      const compared = await this.#sides.run({
        program: 'img',
        args: [
          'compare',
          '-f',
          'raw',
          '-F',
          'raw',
          `${this.#sides.ours}/snapshot.raw`,
          `${this.#sides.theirs}/snapshot.raw`,
        ],
      })
      if (compared.theirs.text !== 'Images are identical.\n')
        throw new Difference(`snapshot ${name} differs: ${compared.theirs.text}`)
    }
  }

  async #readSize(): Promise<void> {
    const { ours } = await this.#sides.judgedByQemu({ program: 'img', args: ['info', '--output=json', NAME] })
    this.#size = Number(/"virtual-size": (\d+)/.exec(ours.text)![1])
  }

  /** How requests reach the disk. */
  #disk(): string[] {
    return this.#kind.isEncrypted ? [...SECRET, '--image-opts'] : ['-f', 'qcow2']
  }
  #secret(): readonly string[] {
    return this.#kind.isEncrypted ? SECRET : []
  }
  #imageOpts(): string[] {
    return this.#kind.isEncrypted ? ['--image-opts'] : []
  }
  #named(): string[] {
    return [this.#kind.isEncrypted ? `driver=qcow2,encrypt.key-secret=key,file.filename=${NAME}` : NAME]
  }

  /** A subcommand for the disk, with its key. @returns the exit status of both */
  #onDisk(command: string, options: readonly string[], operands: readonly string[] = []): Promise<number> {
    return this.#both('img', [
      command,
      ...this.#secret(),
      ...this.#imageOpts(),
      ...options,
      ...this.#named(),
      ...operands,
    ])
  }

  /** @returns the exit status of both */
  async #both(program: Command['program'], args: readonly string[]): Promise<number> {
    const command = { program, args }
    this.#done.push(words(command))
    const outcome = await this.#sides.run(command)
    this.#requireSame(words(command), outcome)
    return outcome.ours.code
  }

  #requireSame(what: string, { ours, theirs }: Outcome): void {
    if (ours.code === theirs.code && ours.text === theirs.text) return
    throw new Difference(
      `${what}\nours, ${ours.code}:\n${ours.text}\nQEMU's, ${theirs.code}:\n${theirs.text}\n`,
    )
  }
}

const words = ({ program, args }: Command): string =>
  `qemu-${program} ${args.map((word) => (/[ ,]/.test(word) ? `'${word}'` : word)).join(' ')}`

/**
 * The requests of a session, without compressed writes behind another change that follows a compressed write: that change may free
 * the host cluster of the first one and be given it, and QEMU packs the next one into it still. Its image then is corrupt.
 */
function withoutLateCompression(lines: readonly string[]): string[] {
  let hasPacked = false
  let hasChanged = false
  return lines.filter((line) => {
    const isCompressed = line.startsWith('write -c')
    if (isCompressed && hasChanged) return false
    if (isCompressed) hasPacked = true
    else if (hasPacked && /^(write|aio_write|discard)/.test(line)) hasChanged = true
    return true
  })
}

/**
 * The runs of a map, without what the allocator and the file system below decide (offsets, and holes in data);
 * neighbours that then are alike are joined.
 */
function withoutOffsets({ code, text }: Outcome['ours']): Outcome['ours'] {
  if (code !== 0) return { code, text }
  const lines: string[] = []
  let last: { end: number; rest: string } | undefined
  for (const { start, length, offset, data, zero, ...rest } of JSON.parse(text) as {
    start: number
    length: number
    offset?: number
    data: boolean
    zero: boolean
    depth: number
  }[]) {
    // What the layers below hold of a range depends on how a commit wrote it.
    const own =
      rest.depth === 0
        ? { ...rest, data, zero: zero && !data, placed: offset !== undefined }
        : { depth: rest.depth }
    const what = JSON.stringify(own)
    if (last?.rest === what && last.end === start) last.end += length
    else {
      if (last) lines.push(`up to ${last.end}: ${last.rest}`)
      last = { end: start + length, rest: what }
    }
  }
  if (last) lines.push(`up to ${last.end}: ${last.rest}`)
  return { code, text: lines.join('\n') }
}

/** The facts of a check, without where in the file things are. */
function withoutPlaces({ code, text }: Outcome['ours']): Outcome['ours'] {
  if (!text.startsWith('{')) return { code, text }
  const {
    'image-end-offset': _,
    'fragmented-clusters': __,
    ...facts
  } = JSON.parse(text) as Record<string, unknown>
  return { code, text: JSON.stringify(facts) }
}
