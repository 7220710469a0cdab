/** Makes dmg images of given chunks. */

/** A chunk of an image. */
export interface DmgChunk {
  /** By its number in the format: 1 is raw. */
  readonly type: number
  /** The first sector in its table, which begins at sector {@link DmgTable.first}. */
  readonly sector: number
  readonly sectors: number
  /** Its data as it is in the file. */
  readonly data?: Uint8Array
  /** Instead of where the data was put, in bytes from the data fork. */
  readonly offset?: bigint
  /** Instead of the length of the data, in bytes. */
  readonly length?: bigint
}

/** A table: the chunks of a partition. */
export interface DmgTable {
  /** The sector of the disk where it begins. */
  readonly first?: number
  readonly chunks: readonly DmgChunk[]
}

/** What an image shall be like. */
export interface DmgWishes {
  readonly tables: readonly DmgTable[]
  /** Sectors of the disk, as the trailer says. */
  readonly sectors: number | bigint
  /** The tables are in a resource fork, not in a property list. */
  readonly resourceFork?: boolean
  /** Bytes before the data, to which offsets do not refer. */
  readonly dataForkOffset?: number
  /** Bytes behind the trailer. */
  readonly behind?: number
  /** Changes the property list. */
  editList?(xml: string): string
  /** Changes the trailer. */
  editTrailer?(trailer: DataView): void
}

const base64 = (bytes: Uint8Array): string => {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text).replace(/.{52}/g, '$&\n\t\t\t\t')
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

/** An image of these chunks. */
export function dmgImage(wishes: DmgWishes): Uint8Array {
  const { dataForkOffset = 0, behind = 0 } = wishes
  const data: Uint8Array[] = [new Uint8Array(dataForkOffset)]
  let end = 0
  const tables = wishes.tables.map(({ first = 0, chunks }) => {
    const table = new DataView(new ArrayBuffer(204 + (chunks.length + 1) * 40))
    table.setUint32(0, 0x6d697368)
    table.setUint32(4, 1)
    table.setBigUint64(8, BigInt(first))
    table.setUint32(200, chunks.length + 1)
    for (const [i, chunk] of chunks.entries()) {
      const at = 204 + i * 40
      table.setUint32(at, chunk.type)
      table.setBigUint64(at + 8, BigInt(chunk.sector))
      table.setBigUint64(at + 16, BigInt(chunk.sectors))
      table.setBigUint64(at + 24, chunk.offset ?? BigInt(end))
      table.setBigUint64(at + 32, chunk.length ?? BigInt(chunk.data?.length ?? 0))
      if (!chunk.data) continue
      data.push(chunk.data)
      end += chunk.data.length
    }
    table.setUint32(204 + chunks.length * 40, 0xffffffff)
    return new Uint8Array(table.buffer)
  })
  const lists = wishes.resourceFork ? forkOf(tables) : listOf(tables, wishes)
  const trailer = new DataView(new ArrayBuffer(512))
  for (const [at, value] of [
    [0, 0x6b6f6c79],
    [4, 4],
    [8, 512],
    [12, 1],
    [56, 1],
    [60, 1],
    [488, 1],
  ] as const)
    trailer.setUint32(at, value)
  trailer.setBigUint64(24, BigInt(dataForkOffset))
  trailer.setBigUint64(32, BigInt(end))
  const listAt = wishes.resourceFork ? 40 : 216
  trailer.setBigUint64(listAt, BigInt(dataForkOffset + end))
  trailer.setBigUint64(listAt + 8, BigInt(lists.length))
  trailer.setBigUint64(492, BigInt(wishes.sectors))
  wishes.editTrailer?.(trailer)
  return joined([...data, lists, new Uint8Array(trailer.buffer), new Uint8Array(behind).fill(0x20)])
}

function listOf(tables: readonly Uint8Array[], { editList = (xml) => xml }: DmgWishes): Uint8Array {
  const items = tables.map(
    (table, i) => `\t\t\t<dict>
\t\t\t\t<key>Attributes</key>\n\t\t\t\t<string>0x0050</string>
\t\t\t\t<key>Data</key>\n\t\t\t\t<data>\n\t\t\t\t${base64(table)}\n\t\t\t\t</data>
\t\t\t\t<key>ID</key>\n\t\t\t\t<string>${i}</string>\n\t\t\t</dict>`,
  )
  return bytesOf(
    editList(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">\n<dict>\n\t<key>resource-fork</key>\n\t<dict>\n\t\t<key>blkx</key>\n\t\t<array>
${items.join('\n')}\n\t\t</array>
\t\t<key>plst</key>\n\t\t<array>\n\t\t\t<dict>\n\t\t\t\t<key>Data</key>\n\t\t\t\t<data>\n\t\t\t\tAAAA\n\t\t\t\t</data>
\t\t\t</dict>\n\t\t</array>\n\t</dict>\n</dict>\n</plist>\n`),
  )
}

function forkOf(tables: readonly Uint8Array[]): Uint8Array {
  const resources = [...tables, Uint8Array.of(1, 2, 3)].flatMap((resource) => {
    const length = new DataView(new ArrayBuffer(4))
    length.setUint32(0, resource.length)
    return [new Uint8Array(length.buffer), resource]
  })
  const all = joined(resources)
  const header = new DataView(new ArrayBuffer(256))
  header.setUint32(0, 256)
  header.setUint32(4, 256 + all.length)
  header.setUint32(8, all.length)
  header.setUint32(12, 30)
  return joined([new Uint8Array(header.buffer), all, new Uint8Array(30)])
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
