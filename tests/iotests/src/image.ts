/**
 * A handle on one image file: qemu-io, qemu-img check and map, crashes, and the file's raw bytes.
 * @module
 */
import { stat } from 'node:fs/promises'
import { testedFormat } from '../../support/formats.ts'
import type { Contents } from './contents.ts'
import { type Header, peek, poke, readHeader } from './qcow2-bytes.ts'
import { type IoResult, ioFailure, parseCheck, parseIo, type Verdict } from './reports.ts'
import type { Run, Subject } from './subject.ts'

/** How qemu-io opens the image. */
export interface IoOptions {
  readonly readOnly?: boolean
  readonly snapshot?: boolean
  /** Replaces the run's cache mode. */
  readonly cache?: string
  /** Replaces the image's format; null lets qemu-io probe. */
  readonly format?: string | null
  /** Opens this with `--image-opts` instead of the path. */
  readonly imageOpts?: string
  /** No file argument: the commands open what they need. */
  readonly noFile?: boolean
  /** Further arguments. */
  readonly args?: readonly string[]
}

/** One entry of `map`, as in its JSON output. */
export interface MapEntry {
  readonly start: number
  readonly length: number
  readonly depth: number
  readonly present?: boolean
  readonly zero: boolean
  readonly data: boolean
  readonly offset?: number
}

/** The parts of a case that its images use. */
export interface ImageHome {
  readonly subject: Subject
  readonly cache: string
}

/** More commands than this go through standard input, to stay clear of argument limits. */
const MANY = 60

/** One image file. */
export class Image {
  readonly path: string
  readonly format: string
  readonly #home: ImageHome

  constructor(home: ImageHome, path: string, format: string) {
    this.#home = home
    this.path = path
    this.format = format
  }

  /** Runs qemu-io commands and returns their outcome. */
  async tryIo(commands: string | readonly string[], options: IoOptions = {}): Promise<IoResult> {
    const list = typeof commands === 'string' ? [commands] : commands
    const { subject, cache } = this.#home
    const args = ['-t', options.cache ?? cache, ...(options.args ?? [])]
    if (options.readOnly) args.push('-r')
    if (options.snapshot) args.push('-s')
    const many = list.length > MANY
    if (!many) args.push(...list.flatMap((command) => ['-c', command]))
    if (options.imageOpts !== undefined) args.push('--image-opts', options.imageOpts)
    else if (!options.noFile) {
      const format = options.format === undefined ? this.format : options.format
      args.push(...(format === null ? [] : ['-f', format]), this.path)
    }
    return parseIo(await subject.io(args, many ? { input: `${list.join('\n')}\n` } : {}))
  }

  /** Runs qemu-io commands, all of which must succeed and verify. */
  async io(commands: string | readonly string[], options: IoOptions = {}): Promise<IoResult> {
    const result = await this.tryIo(commands, options)
    const failure = ioFailure(result)
    if (failure !== undefined) throw new Error(`qemu-io: ${failure}\n${describe(commands, result.text)}`)
    return result
  }

  /** Runs qemu-io commands and then dies without flushing or closing anything. */
  async crashAfter(commands: string | readonly string[], options: IoOptions = {}): Promise<IoResult> {
    const list = typeof commands === 'string' ? [commands] : commands
    const result = await this.tryIo([...list, 'abort'], options)
    if (result.code === 0) throw new Error(`qemu-io survived 'abort'\n${describe(list, result.text)}`)
    const failure = ioFailure({ ...result, code: 0 })
    if (failure !== undefined) throw new Error(`qemu-io before 'abort': ${failure}\n${result.text}`)
    return result
  }

  /** Verifies a window of the disk against a model. */
  async holds(contents: Contents, from = 0, to = contents.size, options: IoOptions = {}): Promise<void> {
    await this.io(contents.readCommands(from, to), options)
  }

  /** `qemu-img check`; for a format without checks, a verdict without errors. */
  async check(options: { readonly repair?: 'leaks' | 'all' } = {}): Promise<Verdict> {
    const repair = options.repair === undefined ? [] : ['-r', options.repair]
    const run = await this.#home.subject.img(['check', '-f', this.format, ...repair, this.path])
    if (testedFormat(this.format).checks === 'no' && run.code === 63) return parseCheck({ code: 0, text: '' })
    return parseCheck(run)
  }

  /** Fails unless `check` finds nothing at all. */
  async isSound(): Promise<void> {
    const verdict = await this.check()
    if (verdict.code !== 0) throw new Error(`check exits with ${verdict.code}\n${verdict.text}`)
  }

  /** `qemu-img map --output=json`. */
  async map(): Promise<readonly MapEntry[]> {
    return JSON.parse((await this.img(['map', '--output=json', '-f', this.format, this.path])).text)
  }

  /** `qemu-img info --output=json`. */
  async info(): Promise<Readonly<Record<string, unknown>>> {
    return JSON.parse((await this.img(['info', '--output=json', '-f', this.format, this.path])).text)
  }

  /** Runs qemu-img with arguments as given; it must succeed. */
  async img(args: readonly string[]): Promise<Run> {
    const run = await this.#home.subject.img(args)
    if (run.code !== 0)
      throw new Error(`qemu-img exits with ${run.code}\n${describe(args.join(' '), run.text)}`)
    return run
  }

  /** Virtual size in bytes, from the header or the file. */
  async size(): Promise<number> {
    if (this.format === 'qcow2') return (await this.header()).size
    if (this.format === 'raw') return this.fileSize()
    if (this.format !== 'qed') return Number((await this.info())['virtual-size'])
    // `image_size` of the QED header.
    const { buffer, byteOffset } = await this.peek(48, 8)
    return Number(new DataView(buffer, byteOffset).getBigUint64(0, true))
  }

  /** Length of the file in bytes. */
  async fileSize(): Promise<number> {
    return (await stat(this.path)).size
  }

  /** Bytes the file occupies on the host. */
  async diskUsage(): Promise<number> {
    return (await stat(this.path)).blocks * 512
  }

  /** The header, read from the bytes by the tests' own reader. */
  header(): Promise<Header> {
    return readHeader(this.path)
  }

  /** Incompatible feature bits; 0 is the dirty bit. */
  async incompatibleFeatures(): Promise<readonly number[]> {
    return (await this.header()).incompatible
  }

  /** Bytes of the file. */
  peek(offset: number, bytes: number): Promise<Uint8Array> {
    return peek(this.path, offset, bytes)
  }

  /** Overwrites bytes of the file. */
  poke(offset: number, bytes: ArrayLike<number>): Promise<void> {
    return poke(this.path, offset, bytes)
  }
}

const describe = (commands: string | readonly string[], text: string): string => {
  const list = typeof commands === 'string' ? [commands] : commands
  const shown = list.length > 12 ? [...list.slice(0, 12), `... (${list.length})`] : list
  return `--- commands\n${shown.join('\n')}\n--- output\n${text}`
}
