/**
 * The smallest guest, used when there is no other: a notepad of 511 characters, kept in the first sector of
 * its disk. It needs neither a BIOS nor a kernel, since v86 starts multiboot images by itself.
 */

/** The address it is loaded at, in bytes. */
const AT = 0x100000

/** 32-bit code, hexadecimal. The buffer is at 120000h, and the typed text ends at EDI. */
const CODE = [
  // start: the stack; sector 0 into the buffer, by PIO
  'bc00000900bb0000120031c0b020e87d00000089dfb90001000066f36d89df',
  // show: each byte of the buffer up to a zero, over the serial line
  '8a0784c07408e85f00000047ebf2',
  // listen: a key: a return becomes a line feed; text that does not fit is dropped
  'bafd030000eca80174fbbaf8030000ec3c0d7502b00a8d8bff01000039cf730c880747e8340000003c0a75d4',
  // save: after a line: the buffer into sector 0, then FLUSH CACHE
  '57b030e82f00000089deb90001000066f36fbaf7010000e852000000b0e7eee84a0000005f8d8bff01000039cf72a5f4',
  // say: a byte over the serial line
  'baf8030000eec3',
  // command: a command of the drive for sector 0; returns when the drive expects, or has, data
  '50baf7010000e82c000000baf6010000b0e0eebaf2010000b001ee30c042ee42ee42eebaf701000058eeec24883c0875',
  'f9baf0010000c3',
  // wait: until the drive is not busy
  '88c4eca88075fb88e0c3',
].join('')

/** The image, for `multiboot: { buffer }`. */
export function notepad() {
  const code = Uint8Array.from(CODE.match(/../g), (byte) => Number.parseInt(byte, 16))
  const magic = 0x1badb002
  // The fields below are present, as this is no ELF file.
  const flags = 0x10000
  const header = [magic, flags, -(magic + flags), AT, AT, 0, 0, AT + 32]
  const image = new Uint8Array(32 + code.length)
  for (const [index, field] of header.entries()) new DataView(image.buffer).setUint32(4 * index, field, true)
  image.set(code, 32)
  return image.buffer
}
