/**
 * The beginning of a cloop file: a shell script that mounts it, and where its blocks are. Source: the file format of
 * cloop-utils 2.0 as `create_compressed_fs` writes it, and the limits of QEMU.
 */
import { BlockError, be, layout } from '@vmblock/block-core/driver'

/** The script with which files of version 2.0 begin. A file that begins otherwise may still be read, if it is called cloop. */
export const SCRIPT = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'

/** Offset of the numbers, in bytes: the script has room for 128. */
export const NUMBERS_AT = 128

/** The numbers behind the script. */
export const NUMBERS = layout('cloop numbers', 8, { blockSize: be.u32(0), blocks: be.u32(4) })

/** Offset of the table, in bytes. It has the offset of each block, and of the end of the last. */
export const TABLE_AT = NUMBERS_AT + NUMBERS.size

/** Bytes of an entry of the table. */
export const ENTRY = 8

/** Bytes of the largest block, as in QEMU. */
const MAX_BLOCK = 64 * 2 ** 20
/** The most blocks, as in QEMU, whose table is counted in 32 bits. */
const MAX_BLOCKS = 2 ** 29 - 1
/** Bytes of the largest table. QEMU takes 512 MiB into memory; this is enough for 1 TiB in blocks of 64 KiB. */
const MAX_TABLE = 64 * 2 ** 20

/** What the numbers say. */
export interface Header {
  /** Bytes. */
  readonly blockSize: number
  readonly blocks: number
}

/**
 * Reads the numbers.
 *
 * @param bytes those of {@link NUMBERS}
 * @param fileSize bytes of the file
 * @throws BlockError EINVAL in QEMU's words, or if the table is not in the file
 */
export function parseNumbers(bytes: Uint8Array, fileSize: number): Header {
  const { blockSize, blocks } = NUMBERS.read(bytes)
  const refuse = (why: string): never => {
    throw new BlockError('EINVAL', why)
  }
  if (blockSize % 512 !== 0) refuse(`block_size ${blockSize} must be a multiple of 512`)
  if (blockSize === 0) refuse('block_size cannot be zero')
  if (blockSize > MAX_BLOCK) refuse(`block_size ${blockSize} must be ${MAX_BLOCK / 2 ** 20} MB or less`)
  if (blocks > MAX_BLOCKS) refuse(`n_blocks ${blocks} must be ${MAX_BLOCKS} or less`)
  const tableBytes = (blocks + 1) * ENTRY
  if (tableBytes > MAX_TABLE) refuse('image requires too many offsets, try increasing block size')
  if (TABLE_AT + tableBytes > fileSize)
    refuse(`the table of ${blocks} blocks ends at ${TABLE_AT + tableBytes}, behind the end of the file`)
  return { blockSize, blocks }
}
