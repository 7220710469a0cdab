/**
 * `iotest`: declares a case once, and runs it on every image variety it applies to, in a directory of its
 * own.
 * @module
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Image } from './image.ts'
import {
  appliesTo,
  type ImageOptions,
  isExplicit,
  leftOut,
  type Needs,
  settings,
  type Variant,
  variantsOf,
  whyNot,
} from './matrix.ts'
import { parseIo } from './reports.ts'
import { loadSubject, type Run, type Subject } from './subject.ts'

/** How to create an image. */
export interface CreateOptions {
  /** File name in the case's directory; `t.FORMAT` if absent. */
  readonly name?: string
  /** Any size that qemu-img takes; absent when a backing file gives the size. */
  readonly size?: string | number
  /** Options of this image; they override the variant's. */
  readonly options?: ImageOptions
  /** Replaces the variant's format. Another format does not get the variant's options. */
  readonly format?: string
  readonly backing?: Image | string
  /** Needed when the backing file is given by name. */
  readonly backingFormat?: string
  /** Leaves the variant's options out. */
  readonly plain?: boolean
}

/** The means of a case. */
export interface Case {
  readonly variant: Variant
  readonly format: string
  readonly cache: string
  /** Whether the programs are ours. */
  readonly ours: boolean
  readonly subjectName: Subject['name']
  /** Cluster size of images created without one of their own; 64 KiB for formats without clusters. */
  readonly clusterSize: number
  /** A path in the case's own directory. */
  path(name: string): string
  /** A handle on a file that exists or will exist. */
  image(name: string, format?: string): Image
  create(options: CreateOptions): Promise<Image>
  /** Creates an image, or fails to; returns the outcome of qemu-img. */
  tryCreate(options: CreateOptions): Promise<{ readonly run: Run; readonly image: Image }>
  /** Runs qemu-img. */
  img(args: readonly string[]): Promise<Run>
  /** Runs qemu-io with arguments as given. */
  io(args: readonly string[], input?: string): Promise<ReturnType<typeof parseIo>>
  /** Names a step; a failure inside carries the name. */
  section(title: string, body: () => Promise<void>): Promise<void>
  equal(actual: unknown, expected: unknown, about?: string): void
  match(text: string, pattern: RegExp | string): void
  /** Output with the case's directory replaced by DIR. */
  tidy(text: string): string
}

const chosen = settings(process.env)
const SIZES: Readonly<Record<string, number>> = { k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }

/** `64k`, `2M`, `512` in bytes. */
export function bytesOf(text: string): number {
  const match = /^(\d+)([kmgt]?)$/i.exec(text)
  if (!match) throw new Error(`not a size: ${text}`)
  return Number(match[1]) * (SIZES[(match[2] ?? '').toLowerCase()] ?? 1)
}

/**
 * Declares a case: `number` and intent are upstream's, everything else is ours.
 * Each variety is one test; where it does not apply the test is skipped with the reason.
 */
export function iotest(number: string, title: string, needs: Needs, body: (t: Case) => Promise<void>): void {
  describe(`${number} ${title}`, () => {
    for (const variant of variantsOf(chosen)) {
      if (!isExplicit(chosen) && !appliesTo(needs, variant.format)) continue
      const reason = leftOut(number, needs, chosen) ?? whyNot(needs, variant, chosen)
      test(variant.name, { timeout: needs.timeout ?? 30_000 }, async (context) => {
        if (reason !== undefined) context.skip(reason)
        const directory = await mkdtemp(join(process.env['IOTESTS_SCRATCH'] ?? tmpdir(), `iotest-${number}-`))
        const subject = await loadSubject(chosen)
        const cache = chosen.cache ?? needs.caches?.[0] ?? 'writeback'
        try {
          await body(caseIn(directory, chosen.debug ? talking(subject) : subject, variant, cache))
        } finally {
          if (!chosen.debug) await rm(directory, { recursive: true, force: true })
        }
      })
    }
  })
}

function caseIn(directory: string, subject: Subject, variant: Variant, cache: string): Case {
  const home = { subject, cache }
  const path = (name: string): string => join(directory, name)
  const image = (name: string, format = variant.format): Image => new Image(home, path(name), format)

  const tryCreate = async (options: CreateOptions): Promise<{ run: Run; image: Image }> => {
    const format = options.format ?? variant.format
    const target = image(options.name ?? `t.${format}`, format)
    const inherited = options.plain || format !== variant.format ? {} : variant.options
    const all = Object.entries({ ...inherited, ...options.options }).map(
      ([key, value]) => `${key}=${value.replaceAll('$IMG', target.path).replaceAll(',', ',,')}`,
    )
    const args = ['create', '-f', format]
    if (all.length > 0) args.push('-o', all.join(','))
    if (options.backing instanceof Image) args.push('-b', options.backing.path, '-F', options.backing.format)
    else if (options.backing !== undefined) {
      args.push('-b', options.backing)
      if (options.backingFormat !== undefined) args.push('-F', options.backingFormat)
    }
    args.push(target.path)
    if (options.size !== undefined) args.push(String(options.size))
    return { run: await subject.img(args), image: target }
  }

  return {
    variant,
    format: variant.format,
    cache,
    ours: subject.ours,
    subjectName: subject.name,
    clusterSize: bytesOf(variant.options['cluster_size'] ?? '64k'),
    path,
    image,
    tryCreate,
    async create(options) {
      const created = await tryCreate(options)
      if (created.run.code !== 0) throw new Error(`qemu-img create: ${created.run.text}`)
      return created.image
    },
    img: (args) => subject.img(args),
    io: async (args, input) => parseIo(await subject.io(args, input === undefined ? {} : { input })),
    async section(name, body) {
      try {
        await body()
      } catch (error) {
        if (error instanceof Error) error.message = `${name}: ${error.message}`
        throw error
      }
    },
    equal: (actual, expected, about) => expect(actual, about).toEqual(expected),
    match: (text, pattern) => expect(text).toMatch(pattern),
    tidy: (text) => text.replaceAll(directory, 'DIR'),
  }
}

/** The same subject, printing every command line and its outcome (`-d`). */
function talking(subject: Subject): Subject {
  const show = (program: string, args: readonly string[], input: string | undefined, run: Run): Run => {
    const words = args.map((word) => (/^[\w./:=,+-]+$/.test(word) ? word : `'${word}'`)).join(' ')
    console.log(`$ ${program} ${words}${input ? `\n${input}` : ''}\n${run.text}[${run.code}]`)
    return run
  }
  return {
    ...subject,
    io: async (args, options) => show('qemu-io', args, options?.input, await subject.io(args, options)),
    img: async (args, options) => show('qemu-img', args, options?.input, await subject.img(args, options)),
  }
}
