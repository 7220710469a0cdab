/**
 * On-disk structures, declared once. A table of fields with explicit offsets gives the TypeScript type,
 * `read`, `write`, the size, and the offset of each field for updating single fields. Gaps and overlaps
 * are refused when the module loads, so that a mistake cannot survive the first import.
 */

import { TWO_32 } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'

/** One fixed-width field at a fixed byte offset. */
export interface Field<T> {
  /** Bytes from the start of the structure. */
  readonly at: number
  /** Bytes. */
  readonly width: number
  get(view: DataView, base: number): T
  set(view: DataView, base: number, value: T): void
}

type AnyField = Field<number> | Field<bigint>

/** The values of a structure, as {@link Layout.read} returns them. */
export type ValueOf<F> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never }

/** A DataView over exactly the bytes of an array. */
export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * Joins the halves of a 64-bit size or offset.
 *
 * @throws BlockError EFBIG above 2^53-1 (8 PiB): refused, never rounded.
 */
export function join64(hi: number, lo: number, what: string): number {
  if (hi > 0x1f_ffff)
    throw new BlockError(
      'EFBIG',
      `${what} exceeds 2^53-1: 0x${hi.toString(16)}${lo.toString(16).padStart(8, '0')}`,
    )
  return hi * TWO_32 + lo
}

/** Unsigned integers of one structure's byte order. */
function fieldsOf(littleEndian: boolean) {
  return {
    u8: (at: number): Field<number> => ({
      at,
      width: 1,
      get: (v, b) => v.getUint8(b + at),
      set: (v, b, x) => v.setUint8(b + at, x),
    }),
    u16: (at: number): Field<number> => ({
      at,
      width: 2,
      get: (v, b) => v.getUint16(b + at, littleEndian),
      set: (v, b, x) => v.setUint16(b + at, x, littleEndian),
    }),
    u32: (at: number): Field<number> => ({
      at,
      width: 4,
      get: (v, b) => v.getUint32(b + at, littleEndian),
      set: (v, b, x) => v.setUint32(b + at, x, littleEndian),
    }),
    /** A 64-bit size or offset. Values past 2^53-1 are refused, never rounded. */
    u64: (at: number): Field<number> => ({
      at,
      width: 8,
      get(v, b) {
        const [hi, lo] = littleEndian ? [at + 4, at] : [at, at + 4]
        return join64(
          v.getUint32(b + hi, littleEndian),
          v.getUint32(b + lo, littleEndian),
          `field at byte ${b + at}`,
        )
      },
      set(v, b, x) {
        const [hi, lo] = littleEndian ? [at + 4, at] : [at, at + 4]
        v.setUint32(b + hi, Math.floor(x / TWO_32), littleEndian)
        v.setUint32(b + lo, x % TWO_32, littleEndian)
      },
    }),
    /** A 64-bit set of flags or an opaque id: a bigint. Never used per request. */
    flags64: (at: number): Field<bigint> => ({
      at,
      width: 8,
      get: (v, b) => v.getBigUint64(b + at, littleEndian),
      set: (v, b, x) => v.setBigUint64(b + at, x, littleEndian),
    }),
  }
}

/** Field makers for big-endian structures (qcow2, VHD). */
export const be = fieldsOf(false)
/** Field makers for little-endian structures (QED, VHDX, VDI). */
export const le = fieldsOf(true)

/** A structure that knows how to read and write itself. */
export interface Layout<F> {
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly fields: F
  /** Reads the structure at `base` (bytes). Returns raw values; the caller checks whether they make sense. */
  read(bytes: Uint8Array, base?: number): ValueOf<F>
  write(bytes: Uint8Array, value: ValueOf<F>, base?: number): void
}

/**
 * Declares an on-disk structure of `size` bytes once.
 *
 * @throws Error when fields leave a gap, overlap, or do not end at `size`.
 */
export function layout<const F extends Record<string, AnyField>>(
  name: string,
  size: number,
  fields: F,
): Layout<F> {
  const entries = Object.entries(fields) as [string, Field<unknown>][]
  let end = 0
  for (const [key, field] of entries) {
    if (field.at !== end) throw new Error(`${name}: ${key} is at ${field.at}, expected ${end}`)
    end = field.at + field.width
  }
  if (end !== size) throw new Error(`${name}: fields end at ${end}, not ${size}`)
  return {
    name,
    size,
    fields,
    read(bytes, base = 0) {
      const view = viewOf(bytes)
      const value: Record<string, unknown> = {}
      for (const [key, field] of entries) value[key] = field.get(view, base)
      return value as ValueOf<F>
    },
    write(bytes, value, base = 0) {
      const view = viewOf(bytes)
      for (const [key, field] of entries) field.set(view, base, (value as Record<string, unknown>)[key])
    },
  }
}
