/** How an image names its parent: paths in up to eight places, each in the manner of one system. */
import { BlockError, SECTOR } from '@vmblock/block-core/driver'
import { type Locator, NAME_BYTES } from './dynamic-header.ts'
import { wordOf } from './footer.ts'

/** A Windows path relative to the image, in UTF-16LE. */
const RELATIVE = wordOf('W2ru')
/** An absolute Windows path, in UTF-16LE. */
const ABSOLUTE = wordOf('W2ku')
/** A file URL, in UTF-8. */
const URL_OF_FILE = wordOf('MacX')

/** Longest path that is read, in bytes. */
export const MAX_NAME = 65536

/** Platforms whose data are paths, in the order in which they are tried. */
const PLATFORMS = [RELATIVE, URL_OF_FILE, ABSOLUTE]

/** The locators that are understood, in the order in which they are tried. */
export const knownLocators = (locators: readonly Locator[]): readonly Locator[] =>
  PLATFORMS.flatMap((platform) => locators.filter((locator) => locator.platform === platform))

function utf16(bytes: Uint8Array, isLittleEndian: boolean): string {
  let text = ''
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    const unit = isLittleEndian ? bytes[i]! | (bytes[i + 1]! << 8) : (bytes[i]! << 8) | bytes[i + 1]!
    if (unit === 0) break
    text += String.fromCharCode(unit)
  }
  return text
}

function toUtf16(text: string, isLittleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(text.length * 2)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < text.length; i++) view.setUint16(i * 2, text.charCodeAt(i), isLittleEndian)
  return bytes
}

const isDrive = (path: string): boolean => /^[a-z]:/i.test(path)

/**
 * A path as a host takes it: with slashes, and such that nothing but a drive can look like a protocol. The names in an
 * image are paths, and never `json:` or the address of a server.
 */
function hostPath(windows: string): string {
  const path = windows.replaceAll('\\', '/').replace(/^(?:\.\/+)+/, '')
  return !isDrive(path) && /^[^/]*:/.test(path) ? `./${path}` : path
}

/** @returns undefined for a URL that is no path of this system */
function pathOfUrl(url: string): string | undefined {
  const match = /^file:(?:(?:\/\/(?:localhost)?)?(\/(?!\/)[^?#]*)|([^/?#][^?#]*))$/i.exec(url)
  if (!match) return undefined
  try {
    const path = decodeURIComponent((match[1] ?? match[2])!)
    return path === '' || path.includes('\0') ? undefined : hostPath(path)
  } catch {
    return undefined
  }
}

/**
 * The path in a locator's data.
 *
 * @returns undefined if there is none
 */
export function decodeLocator({ platform }: Locator, data: Uint8Array): string | undefined {
  if (platform === URL_OF_FILE) return pathOfUrl(new TextDecoder().decode(data).replace(/\0.*$/s, ''))
  const path = hostPath(utf16(data, true))
  if (path === '') return undefined
  // What is called relative is, even if it looks otherwise.
  return platform === RELATIVE ? path.replace(/^\/+/, '') || undefined : path
}

/** The name in the header: some programs write a whole path there, others the last part of one. */
export const decodeName = (field: Uint8Array): string | undefined =>
  hostPath(utf16(field, false)) || undefined

/** The name of a parent, ready to be written. */
export interface EncodedName {
  /** For the header. */
  readonly name: Uint8Array
  readonly locator: Locator
  /** The data of the locator, in whole sectors. */
  readonly data: Uint8Array
}

/**
 * Encodes a path: a relative one, or one with a drive, as Windows does, and an absolute path of other systems as a URL.
 *
 * @param at where the data will be in the image file, in bytes
 * @throws BlockError EINVAL for a name that is no path, or too long
 */
export function encodeName(path: string, at: number): EncodedName {
  if (path === '' || path.includes('\0') || (!isDrive(path) && /^[^/\\]*:/.test(path)))
    throw new BlockError('EINVAL', `a VHD names its parent by a path, and '${path}' is none`)
  const [platform, data] = locatorFor(path)
  if (data.length > MAX_NAME) throw new BlockError('EINVAL', 'Backing file name too long')
  const padded = new Uint8Array(Math.ceil(data.length / SECTOR) * SECTOR)
  padded.set(data)
  const name = new Uint8Array(NAME_BYTES)
  const last = path.replace(/^.*[/\\]/s, '') || path
  // A zero ends it.
  name.set(toUtf16(last, false).subarray(0, NAME_BYTES - 2))
  return {
    name,
    locator: { platform, space: padded.length, bytes: data.length, reserved: 0, offset: BigInt(at) },
    data: padded,
  }
}

function locatorFor(path: string): readonly [platform: number, data: Uint8Array] {
  if (isDrive(path) || path.startsWith('\\')) return [ABSOLUTE, toUtf16(path.replaceAll('/', '\\'), true)]
  if (path.startsWith('/')) {
    const encoded = path.split('/').map(encodeURIComponent).join('/')
    return [URL_OF_FILE, new TextEncoder().encode(`file://localhost${encoded}`)]
  }
  const windows = path.replaceAll('/', '\\')
  return [RELATIVE, toUtf16(/^\.{1,2}\\/.test(windows) ? windows : `.\\${windows}`, true)]
}
