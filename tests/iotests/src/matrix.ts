/**
 * The image varieties a case runs on: the built-in matrix, or the one variety the caller asked for.
 * @module
 */
import { type ImageOptions, optionsText } from '@vmblock/block-core/testing'
import { varietiesFor } from '../../support/formats.ts'

export type { ImageOptions }

/** One row of the matrix: a format and the options every image of the case is created with. */
export interface Variant {
  readonly name: string
  readonly format: string
  readonly options: ImageOptions
}

/** The requirements of a case; everything but `formats` is optional. */
export interface Needs {
  /** Formats the case is meaningful for; `generic` means all. */
  readonly formats: readonly string[]
  /** Upstream's group names, for `-g` and `-x`. */
  readonly groups?: readonly string[]
  /** `key` or `key=value` of image options under which the case has no meaning, or another. */
  readonly unsupportedOptions?: readonly string[]
  /** The case chooses every image option itself, so that one variety of its format is enough. */
  readonly ownOptions?: boolean
  /** Cache modes the case works in; the first is its default. If absent: all, writeback first. */
  readonly caches?: readonly string[]
  /**
   * `ours`: behavior deliberately better than QEMU's. `process`: the programs as processes.
   * `holes`: programs that make and see holes in host files, for which plain Node.js has no calls.
   */
  readonly requires?: readonly ('ours' | 'process' | 'holes')[]
  /** Milliseconds the case may take with one variant; 30 s if absent. */
  readonly timeout?: number
}

const variantOf = (format: string, options: ImageOptions): Variant => ({
  name: `${format} ${optionsText(options)}`.trimEnd(),
  format,
  options,
})

/** The varieties of a plain run. */
export const MATRIX: readonly Variant[] = varietiesFor('iotests').map(({ format, variety }) =>
  variantOf(format.driver.name, variety.create),
)

/** The kinds of programs under test. */
export type SubjectName = (typeof SUBJECTS)[number]
const SUBJECTS = ['in-process', 'process', 'real'] as const

/** The settings of a run; they come from the environment, see {@link settings}. */
export interface Settings {
  /** Formats named with `-qcow2` and the like; empty means the whole matrix. */
  readonly formats: readonly string[]
  /** `-o`: one option set that replaces the matrix's. */
  readonly options?: ImageOptions
  /** `-c`. */
  readonly cache?: string
  readonly groups: readonly string[]
  readonly excluded: readonly string[]
  readonly subject: SubjectName
  /** The subject whose qemu-img is used, if not `subject`: one program of each kind on one image. */
  readonly img: SubjectName
  readonly debug: boolean
}

const words = (text: string | undefined): string[] => (text ?? '').split(/[\s,]+/).filter(Boolean)

/** `key=value,key=value` as qemu-img's `-o` takes it (no commas in values). */
export function parseImageOptions(text: string): ImageOptions {
  const pairs = words(text).map((word) => {
    const at = word.indexOf('=')
    if (at < 1) throw new Error(`image option '${word}' is not of the form key=value`)
    return [word.slice(0, at), word.slice(at + 1).replaceAll('$TEST_IMG', '$IMG')] as const
  })
  return Object.fromEntries(pairs)
}

function subjectName(text: string): SubjectName {
  const name = SUBJECTS.find((candidate) => candidate === text)
  if (!name) throw new Error(`the programs come from ${SUBJECTS.join(', ')}, not from '${text}'`)
  return name
}

/** Reads the `IOTESTS_*` variables that the runner sets. Throws when one is not understood. */
export function settings(env: Readonly<Record<string, string | undefined>>): Settings {
  const subject = subjectName(env['IOTESTS_SUBJECT'] ?? 'in-process')
  const img = subjectName(env['IOTESTS_IMG'] ?? subject)
  const imgopts = env['IOTESTS_IMGOPTS']
  const cache = env['IOTESTS_CACHE']
  return {
    formats: words(env['IOTESTS_FORMATS']),
    ...(imgopts ? { options: parseImageOptions(imgopts) } : {}),
    ...(cache ? { cache } : {}),
    groups: words(env['IOTESTS_GROUPS']),
    excluded: words(env['IOTESTS_EXCLUDE']),
    subject,
    img,
    debug: env['IOTESTS_DEBUG'] === '1',
  }
}

/** The variants of a run. */
export function variantsOf({ formats, options }: Settings): readonly Variant[] {
  if (options) return [variantOf(formats[0] ?? 'qcow2', options)]
  if (formats.length === 0) return MATRIX
  return formats.map((format) => variantOf(format, {}))
}

/** Whether the user chose varieties; then a variety that does not apply is reported as a skip. */
export const isExplicit = ({ formats, options }: Settings): boolean =>
  formats.length > 0 || options !== undefined

/** Whether a case is meaningful for the format at all. */
export const appliesTo = (needs: Needs, format: string): boolean =>
  needs.formats.includes('generic') || needs.formats.includes(format)

/** Returns why a case does not run on a variant, or undefined when it does. */
export function whyNot(needs: Needs, variant: Variant, chosen: Settings): string | undefined {
  if (!appliesTo(needs, variant.format)) return `not for format ${variant.format}`
  if (needs.ownOptions && Object.keys(variant.options).length > 0) return 'the case chooses its own options'
  for (const pattern of needs.unsupportedOptions ?? []) {
    const [key = '', value] = pattern.split('=')
    const set = variant.options[key]
    if (set !== undefined && (value === undefined || value === set)) return `not with ${pattern}`
  }
  if (chosen.cache && needs.caches && !needs.caches.includes(chosen.cache)) {
    return `not in cache mode ${chosen.cache}`
  }
  if (needs.requires?.includes('ours') && (chosen.subject === 'real' || chosen.img === 'real'))
    return 'deliberately better than QEMU'
  if (needs.requires?.includes('holes') && !(chosen.subject === 'real' && chosen.img === 'real')) {
    return 'plain Node can neither make nor see holes of host files'
  }
  if (needs.requires?.includes('process') && chosen.subject === 'in-process') return 'needs real processes'
  return undefined
}

/** Returns why `-g` or `-x` exclude the whole case from the run, or undefined. */
export function leftOut(number: string, needs: Needs, { groups, excluded }: Settings): string | undefined {
  const own = needs.groups ?? []
  if (groups.length > 0 && !groups.some((group) => own.includes(group)))
    return `not in group ${groups.join(', ')}`
  const hit = excluded.find((name) => name === number || own.includes(name))
  return hit === undefined ? undefined : `excluded by ${hit}`
}
