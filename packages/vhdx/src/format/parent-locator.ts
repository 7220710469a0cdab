/** The parent locator: pairs of texts that say where the parent of a differencing image is (MS-VHDX, section 2.6.2.6). */
import { BlockError, layout, le } from '@vmblock/block-core/driver'
import { type Guid, guidText, joinGuid, knownGuid, parseGuid } from './guid.ts'

const HEAD = layout('VHDX parent locator', 20, {
  typeLow: le.flags64(0),
  typeHigh: le.flags64(8),
  reserved: le.u16(16),
  count: le.u16(18),
})
const ENTRY = layout('VHDX parent locator entry', 12, {
  keyOffset: le.u32(0),
  valueOffset: le.u32(4),
  keyLength: le.u16(8),
  valueLength: le.u16(10),
})

/** The only type that is defined: the parent is a VHDX file. */
const VHDX_PARENT = knownGuid('B04AEFB7-D19E-4A81-B789-25B8E9445913')

/** Where the parent is, and which one. */
export interface ParentLocator {
  /** The name as a host may open it: relative to the image, if the locator has such a name. */
  readonly filename: string
  /** The data-write GUIDs that the parent may have; none if the locator does not say. */
  readonly linkages: readonly Guid[]
}

const utf16 = new TextDecoder('utf-16le')

/** A Windows path as other hosts write it; names of drives and volumes stay. */
const portable = (path: string): string => path.replaceAll('\\', '/').replace(/^(\.\/+)+/, '')

/**
 * Reads a parent locator.
 *
 * @throws BlockError EINVAL if it is damaged; ENOTSUP for another type
 */
export function parseParentLocator(bytes: Uint8Array): ParentLocator {
  const { typeLow, typeHigh, count } = HEAD.read(bytes)
  const type = joinGuid(typeLow, typeHigh)
  if (type !== VHDX_PARENT)
    throw new BlockError('ENOTSUP', `the VHDX parent locator has the unknown type ${guidText(type)}`)
  if (HEAD.size + count * ENTRY.size > bytes.length)
    throw new BlockError('EINVAL', `the VHDX parent locator cannot have ${count} entries`)
  const text = (offset: number, length: number): string => {
    if (offset + length > bytes.length)
      throw new BlockError('EINVAL', 'the VHDX parent locator points outside of itself')
    return utf16.decode(bytes.subarray(offset, offset + length))
  }
  const values = new Map<string, string>()
  for (let i = 0; i < count; i++) {
    const entry = ENTRY.read(bytes, HEAD.size + i * ENTRY.size)
    values.set(text(entry.keyOffset, entry.keyLength), text(entry.valueOffset, entry.valueLength))
  }
  const path = ['relative_path', 'absolute_win32_path', 'volume_path']
    .map((key) => values.get(key))
    .find((value) => value)
  if (path === undefined) throw new BlockError('EINVAL', 'the VHDX parent locator names no file')
  const linkages = ['parent_linkage', 'parent_linkage2']
    .map((key) => parseGuid(values.get(key) ?? ''))
    .filter((guid) => guid !== undefined)
  return { filename: portable(path), linkages }
}
