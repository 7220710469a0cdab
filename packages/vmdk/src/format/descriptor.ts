/**
 * The descriptor: a text that says of what extents a disk consists, and what content it holds (the content id). It is read and
 * changed by lines, and as bytes: its encoding does not matter, and what is not understood stays as it is.
 */
import { BlockError, SECTOR } from '@vmblock/block-core/driver'

/** The content id that stands for no parent. */
export const NO_PARENT = 0xffff_ffff

/** The most bytes that are read of a descriptor, as in QEMU. */
export const MOST_BYTES = 2 ** 20 - 1

/** The most extents of a disk: 128 TiB in pieces of 2 GiB. */
const MOST_EXTENTS = 65536

/** One line of a descriptor: a part of the disk. */
export interface ExtentLine {
  readonly access: 'RW' | 'RDONLY' | 'NOACCESS'
  readonly sectors: number
  /** In upper case. */
  readonly type: string
  /** Empty for type ZERO. */
  readonly filename: string
  /** Where a flat extent begins in its file, in sectors; undefined if the line does not say. */
  readonly offset: number | undefined
  /** The line, for messages. */
  readonly text: string
}

/** What a descriptor says. */
export interface Descriptor {
  readonly createType: string | undefined
  /** Undefined if there is none: then nothing tells whether the content changed. */
  readonly cid: number | undefined
  readonly parentCid: number | undefined
  readonly parentName: string | undefined
  readonly extents: readonly ExtentLine[]
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Each byte as a character of its own. */
function charactersOf(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 4096)
    text += String.fromCharCode(...bytes.subarray(at, at + 4096))
  return text
}

const bytesOfCharacters = (text: string): Uint8Array => Uint8Array.from(text, (each) => each.charCodeAt(0))

/** The text in the space of a descriptor: up to the first zero byte. */
function textOf(space: Uint8Array): string {
  const end = space.indexOf(0)
  return charactersOf(end < 0 ? space : space.subarray(0, end))
}

/** A name as people wrote it: UTF-8, or else of an encoding in which each byte is a character. */
function decoded(characters: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytesOfCharacters(characters))
  } catch {
    return characters
  }
}

const EXTENT = /^\s*(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)"(?:\s+(-?\d+))?(?:\s.*)?)?\s*$/i
const IS_EXTENT = /^\s*(?:RW|RDONLY|NOACCESS)\s/i
const SETTING = /^\s*([\w.]+)\s*=\s*(?:"([^"]*)"|(\S*))\s*$/

/** Whether the beginning of a file is that of a descriptor, by QEMU's rule: comments, and then the version. */
export function looksLikeDescriptor(head: Uint8Array): boolean {
  for (const line of textOf(head).split('\n')) {
    if (line.startsWith('#') || /^ +$/.test(line)) continue
    return /^version=[123]\r?$/.test(line) && textOf(head).includes(`${line}\n`)
  }
  return false
}

/**
 * Reads a descriptor.
 *
 * @param space the bytes that it may fill
 * @param hasExtents whether its extents count: in a file that is the only extent they do not, and often are wrong
 * @throws BlockError EINVAL for lines that contradict themselves
 */
export function parseDescriptor(space: Uint8Array, hasExtents: boolean): Descriptor {
  const settings = new Map<string, string>()
  const extents: ExtentLine[] = []
  for (const line of textOf(space).split(/\r?\n/)) {
    if (/^\s*#/.test(line)) continue
    if (IS_EXTENT.test(line)) {
      if (!hasExtents) continue
      extents.push(extentOf(line))
      if (extents.length > MOST_EXTENTS) throw invalid(`The descriptor has more than ${MOST_EXTENTS} extents`)
      continue
    }
    const [, key, quoted, plain] = SETTING.exec(line) ?? []
    // The first counts.
    if (key !== undefined && !settings.has(key.toLowerCase()))
      settings.set(key.toLowerCase(), quoted ?? plain ?? '')
  }
  const name = settings.get('parentfilenamehint')
  return {
    createType: settings.get('createtype'),
    cid: idOf('CID', settings.get('cid')),
    parentCid: idOf('parentCID', settings.get('parentcid')),
    parentName: name === undefined || name === '' ? undefined : decoded(name),
    extents,
  }
}

function idOf(key: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^(?:0x)?[0-9a-f]{1,8}$/i.test(text)) throw invalid(`The descriptor's ${key} is no number: '${text}'`)
  return Number.parseInt(text, 16)
}

function extentOf(line: string): ExtentLine {
  const wrong = (): BlockError => invalid(`Invalid extent line: ${line}`)
  const [, access, sectors, type, name, offset] = EXTENT.exec(line) ?? []
  if (access === undefined) throw wrong()
  const extent: ExtentLine = {
    access: access.toUpperCase() as ExtentLine['access'],
    sectors: Number(sectors),
    type: type!.toUpperCase(),
    filename: decoded(name ?? ''),
    offset: offset === undefined ? undefined : Number(offset),
    text: line.trim(),
  }
  if (extent.type !== 'ZERO' && extent.filename === '') throw wrong()
  if (extent.type === 'FLAT' && (extent.offset === undefined || extent.offset < 0)) throw wrong()
  if (![extent.sectors, extent.offset ?? 0].every((count) => Number.isSafeInteger(count * SECTOR)))
    throw invalid(`The extent is too large: ${extent.text}`)
  return extent
}

/** A change of a descriptor: bytes to write at an offset of its space. */
export interface DescriptorChange {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** A content id as it is written. */
export const idText = (cid: number): string => cid.toString(16).padStart(8, '0')

/**
 * Replaces the content id, and nothing else: from the first sector that changes to the last.
 *
 * @param space the bytes that the descriptor may fill
 * @param most bytes that it may have after the change; they are filled with zeroes
 * @returns undefined if there is no content id
 * @throws BlockError ENOSPC if the text would become too long
 */
export function withCid(space: Uint8Array, cid: number, most: number): DescriptorChange | undefined {
  const text = textOf(space)
  const found = /^([ \t]*CID[ \t]*=[ \t]*"?)(?:0x)?([0-9a-f]+)/im.exec(text)
  if (!found) return undefined
  const [whole, before, old] = found
  const start = found.index
  // As long as it was: then no other byte changes.
  const id = idText(cid)
  const next = bytesOfCharacters(
    `${text.slice(0, start)}${before}${id.slice(-Math.max(old!.length, id.replace(/^0+/, '').length))}${text.slice(start + whole.length)}`,
  )
  if (next.length > most) throw new BlockError('ENOSPC', 'The descriptor has no room for a longer content id')
  const padded = new Uint8Array(Math.max(next.length, text.length))
  padded.set(next)
  let from = 0
  while (from < padded.length && padded[from] === space[from]) from++
  let to = padded.length
  while (to > from && padded[to - 1] === space[to - 1]) to--
  if (from === to) return undefined
  const first = Math.floor(from / SECTOR) * SECTOR
  return {
    offset: first,
    bytes: padded.slice(first, Math.min(Math.ceil(to / SECTOR) * SECTOR, padded.length)),
  }
}

/** What a new descriptor says. */
export interface NewDescriptor {
  readonly cid: number
  readonly parentCid: number
  readonly createType: string
  readonly parentName: string | undefined
  /** `RW 2048 SPARSE "a.vmdk"` */
  readonly extents: readonly string[]
  readonly hardwareVersion: string
  readonly adapterType: string
  readonly toolsVersion: string
  /** Bytes of the disk. */
  readonly size: number
}

/** The text of a new descriptor, as QEMU writes it. */
export function descriptorText(of: NewDescriptor): string {
  // VMware counts so where the adapter is not IDE.
  const heads = of.adapterType === 'ide' ? 16 : 255
  const lines = [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${of.cid.toString(16)}`,
    `parentCID=${of.parentCid.toString(16)}`,
    `createType="${of.createType}"`,
    `${of.parentName === undefined ? '' : `parentFileNameHint="${of.parentName}"`}`,
    '# Extent description',
    ...of.extents,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    `ddb.virtualHWVersion = "${of.hardwareVersion}"`,
    `ddb.geometry.cylinders = "${Math.floor(of.size / (63 * heads * SECTOR))}"`,
    `ddb.geometry.heads = "${heads}"`,
    'ddb.geometry.sectors = "63"',
    `ddb.adapterType = "${of.adapterType}"`,
    `ddb.toolsVersion = "${of.toolsVersion}"`,
    '',
  ]
  return lines.join('\n')
}
