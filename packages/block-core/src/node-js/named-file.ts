/** Finds the host file that a name in an image's header stands for, when only files may be opened. Pure. */
import { isBlockError, messageOf } from '../base/errors.ts'
import { parseJson } from '../text/json.ts'
import { isTree, nestOptions } from '../text/option-tree.ts'
import { protocolOf } from '../text/paths.ts'

/** The file that a name stands for. */
export interface NamedFile {
  readonly path: string
  /** The format that the name itself specifies. */
  readonly format?: string
  /** Whether the name means the plain bytes of the file: no format is probed. */
  readonly isBytes?: boolean
  /** Why the name is refused if no file is called exactly so: QEMU reads it as something else. */
  readonly otherMeaning?: string
}

/** The reason why a name is refused. */
interface RefusedName {
  readonly refused: string
}

/** Returns the file that a name stands for. */
export function namedFile(name: string): NamedFile {
  const protocol = protocolOf(name)
  if (protocol === undefined) return { path: name }
  if (protocol === 'file') return { path: name.slice('file:'.length) }
  if (protocol !== 'json')
    return { path: name, otherMeaning: `only files may be opened, not what the protocol '${protocol}' has` }
  const named = fileOfJson(name.slice('json:'.length))
  return 'refused' in named ? { path: name, otherMeaning: named.refused } : named
}

function fileOfJson(text: string): NamedFile | RefusedName {
  let options: unknown
  try {
    options = parseJson(text)
  } catch (error) {
    return { refused: `its JSON is wrong: ${messageOf(error)}` }
  }
  if (!isTree(options)) return { refused: 'its JSON is no object' }
  try {
    return fileOf(nestOptions(options))
  } catch (error) {
    if (isBlockError(error)) return { refused: error.message }
    throw error
  }
}

/**
 * Accepts `{driver: 'file', filename}` or `{driver, file: {driver: 'file', filename}}`: others could open
 * anything.
 */
function fileOf(options: Readonly<Record<string, unknown>>): NamedFile | RefusedName {
  const { driver, file, filename, ...others } = options
  const [other] = Object.keys(others)
  if (other !== undefined) return { refused: `its option '${other}' is more than a file and its format` }
  if (driver !== undefined && typeof driver !== 'string') return { refused: `its option 'driver' is no word` }
  if (file === undefined) {
    if (typeof filename !== 'string') return { refused: notAFile(driver) }
    if (driver === 'file') return pathOf(filename, { isBytes: true })
    // A filename inside the JSON: the format, and the file in the spelling of the programs.
    if (filename.startsWith('json:')) return { refused: 'its file is given as JSON once more' }
    const inner = filename.startsWith('file:') ? filename.slice('file:'.length) : filename
    return pathOf(inner, driver === undefined ? {} : { format: driver })
  }
  if (filename !== undefined) return { refused: `it has both 'file' and 'filename'` }
  if (!isTree(file)) return { refused: `its option 'file' is no file` }
  const { driver: protocol = 'file', filename: path, ...more } = file
  const [surplus] = Object.keys(more)
  if (protocol !== 'file') return { refused: notAFile(protocol) }
  if (surplus !== undefined)
    return { refused: `its option 'file.${surplus}' is more than a file and its format` }
  if (typeof path !== 'string') return { refused: notAFile(protocol) }
  return pathOf(path, driver === undefined ? {} : { format: driver as string })
}

function pathOf(path: string, more: Omit<NamedFile, 'path'>): NamedFile | RefusedName {
  return path === '' || path.includes('\0') ? { refused: 'no host can have such a file' } : { path, ...more }
}

const notAFile = (driver: unknown): string =>
  driver === undefined || driver === 'file' ? 'it names no file' : `the driver '${driver}' opens no file`

/** The root of a path on Windows: `c:`, or machine and share; empty on other systems, with their one root. */
export function rootOf(path: string, platform: string = process.platform): string {
  if (platform !== 'win32') return ''
  const plain = path.replaceAll('/', '\\').toLowerCase()
  return /^(?:[a-z]:|\\\\[^\\]*(?:\\[^\\]*)?)/.exec(plain)?.[0] ?? ''
}

const DEVICE =
  /^(?:con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])[ .:]*(?:[.:].*)?$/i

/** Whether Windows takes a part of the path for a device, in any directory: `NUL`, `aux.qcow2`. */
export const isWindowsDevice = (path: string, platform: string = process.platform): boolean =>
  platform === 'win32' && path.split(/[\\/]/).some((part) => DEVICE.test(part))
