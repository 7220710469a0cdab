/**
 * The smallest guest: a boot sector that reads sectors through the BIOS, changes them, writes them elsewhere,
 * and reports the outcome over the serial line. A BIOS uses PIO.
 * @module
 */

/** Number of sectors that it reads, starting at the second, and writes to {@link TARGET}. */
export const COUNT = 8

/** The sector it writes to. */
export const TARGET = 1000

/** The mask that it XORs each byte with. */
export const MASK = 0x5a

/** The addresses that it is loaded at, and reads to. */
const ORIGIN = 0x7c00
const BUFFER = 0x8000

/** Its reports over the serial line. */
export const SAID = { well: 'K', failed: 'F' } as const

/** Returns its 512 bytes. */
export function bootSector(): Uint8Array {
  const code = new Code()
  // cli; ax = ds = es = ss = 0; sp = 7C00h; sti
  code.bytes(0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb)
  // si = packet; ah = 42h (extended read); int 13h; jc failed
  code.bytes(0xbe).address('source').bytes(0xb4, 0x42, 0xcd, 0x13, 0x72).distance('failed')
  // si = buffer; cx = length; each byte: xor [si], MASK; inc si; loop
  code.bytes(0xbe, ...word(BUFFER), 0xb9, ...word(COUNT * 512), 0x80, 0x34, MASK, 0x46, 0xe2, 0xfa)
  // si = packet; ax = 4300h (extended write); int 13h; jc failed
  code.bytes(0xbe).address('target').bytes(0xb8, 0x00, 0x43, 0xcd, 0x13, 0x72).distance('failed')
  // al = K; jmp say
  code.bytes(0xb0, SAID.well.charCodeAt(0), 0xeb).distance('say')
  code.label('failed').bytes(0xb0, SAID.failed.charCodeAt(0))
  // dx = 3F8h; out dx, al; hlt; jmp to hlt
  code.label('say').bytes(0xba, 0xf8, 0x03, 0xee, 0xf4, 0xeb, 0xfd)
  code.label('source').bytes(...packet(1))
  code.label('target').bytes(...packet(TARGET))
  return code.sector()
}

/** A disk address packet of the BIOS (EDD): number of sectors, address in memory, first sector. */
const packet = (sector: number): number[] => [
  ...[0x10, 0],
  ...word(COUNT),
  ...word(BUFFER),
  ...word(0),
  ...word(sector),
  ...[0, 0, 0, 0, 0, 0],
]

const word = (value: number): [number, number] => [value & 0xff, value >> 8]

/** Machine code with labels. */
class Code {
  readonly #bytes: number[] = []
  readonly #labels = new Map<string, number>()
  readonly #references: { readonly at: number; readonly label: string; readonly isRelative: boolean }[] = []

  bytes(...values: readonly number[]): this {
    this.#bytes.push(...values)
    return this
  }
  label(name: string): this {
    this.#labels.set(name, this.#bytes.length)
    return this
  }
  address(label: string): this {
    this.#references.push({ at: this.#bytes.length, label, isRelative: false })
    return this.bytes(0, 0)
  }
  distance(label: string): this {
    this.#references.push({ at: this.#bytes.length, label, isRelative: true })
    return this.bytes(0)
  }

  sector(): Uint8Array {
    const sector = new Uint8Array(512)
    sector.set(this.#bytes)
    for (const { at, label, isRelative } of this.#references) {
      const target = this.#labels.get(label)!
      if (isRelative) sector[at] = target - (at + 1)
      else sector.set(word(ORIGIN + target), at)
    }
    sector.set([0x55, 0xaa], 510)
    return sector
  }
}
