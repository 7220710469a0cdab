/** Minimal files that begin, or end, like those of other programs, made from the specifications. */

/** One byte for each character. */
export const latin1 = (text: string): Uint8Array =>
  Uint8Array.from(text, (character) => character.charCodeAt(0))

const begins = (text: string, offset = 0, size = 4096): Uint8Array => {
  const bytes = new Uint8Array(size)
  bytes.set(latin1(text), offset)
  return bytes
}

const ends = (text: string, fromEnd: number, size = 8192): Uint8Array => begins(text, size - fromEnd, size)

const DESCRIPTOR =
  'version=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "secret.txt" 0\n'
const BOCHS = `Bochs Virtual HD Image${'\0'.repeat(10)}Redolog${'\0'.repeat(9)}Growing${'\0'.repeat(9)}\0\0\x02\0`
const CLOOP = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'
const KOLY = 'koly\0\0\0\x04\0\0\x02\0'

/** The format, by QEMU's name or that of the compressor; the variant; the file. */
export const FOREIGN_FILES: readonly (readonly [format: string, what: string, bytes: Uint8Array])[] = [
  ['vmdk', 'sparse', begins('KDMV\x01\0\0\0')],
  ['vmdk', 'of ESX', begins('COWD\x01\0\0\0')],
  ['vmdk', 'seSparse', begins('\xbe\xba\xfe\xca\0\0\0\0\x01\0\0\0\x02\0\0\0')],
  ['vmdk', 'descriptor', latin1(`# Disk DescriptorFile\n${DESCRIPTOR}`)],
  ['vmdk', 'descriptor in a sector', begins(`# Disk DescriptorFile\n${DESCRIPTOR}`, 0, 512)],
  ['vmdk', 'descriptor with CRLF', latin1(`# Disk DescriptorFile\r\n${DESCRIPTOR.replaceAll('\n', '\r\n')}`)],
  ['vmdk', 'descriptor without the comment', latin1(DESCRIPTOR)],
  ['vmdk', 'descriptor behind comments and lines of spaces', latin1(`#\n# x\n   \n \r\n#y\n${DESCRIPTOR}`)],
  ['vmdk', 'descriptor behind empty lines', latin1(`\n\n\t\n# Disk DescriptorFile\n${DESCRIPTOR}`)],
  ['vmdk', 'descriptor with a byte order mark', latin1(`\xef\xbb\xbf# Disk DescriptorFile\n${DESCRIPTOR}`)],
  ['vmdk', 'descriptor, written loosely', latin1('# Disk DescriptorFile\nencoding = "UTF-8"\nversion = 4\n')],
  ['vpc', 'dynamic', begins('conectix\0\0\0\x02')],
  ['vpc', 'fixed', ends('conectix\0\0\0\x02', 512)],
  ['vpc', 'fixed, with a footer of 511 bytes', ends('conectix\0\0\0\x02', 511, 8191)],
  ['vpc', 'fixed, cut within its footer', ends('conectix\0\0\0\x02', 200, 7680 + 200)],
  ['vpc', 'a footer and nothing else', begins('conectix', 0, 512)],
  ['vhdx', '', begins('vhdxfile')],
  ['vdi', '', begins(`${'<<< Oracle VM VirtualBox Disk Image >>>\n'.padEnd(64, '\0')}\x7f\x10\xda\xbe`)],
  ['vdi', 'with other text', begins('\x7f\x10\xda\xbe', 64)],
  ['parallels', '', begins('WithoutFreeSpace\x02\0\0\0')],
  ['parallels', 'extended', begins('WithouFreSpacExt\x02\0\0\0')],
  ['qcow', 'version 1', begins('QFI\xfb\0\0\0\x01')],
  ['qcow2', 'version 3', begins('QFI\xfb\0\0\0\x03')],
  ['qed', '', begins('QED\0')],
  ['luks', 'version 1', begins('LUKS\xba\xbe\0\x01')],
  ['luks', 'version 2', begins('LUKS\xba\xbe\0\x02')],
  ['dmg', '', ends(KOLY, 512)],
  ['dmg', 'of an odd size', ends(KOLY, 512, 5001)],
  ['dmg', 'with 511 bytes behind it', ends(KOLY, 1023)],
  ['dmg', 'a trailer and nothing else', begins(KOLY, 0, 512)],
  ['dmg', 'encrypted', begins('encrcdsa\0\0\0\x02')],
  ['dmg', 'encrypted, version 1', ends('cdsaencr', 8)],
  ['asif', '', begins('shdw\0\0\0\x01\0\0\x02\0')],
  ['chd', 'version 5', begins('MComprHD\0\0\0\x7c\0\0\0\x05')],
  ['chd', 'version 1', begins('MComprHD\0\0\0\x4c\0\0\0\x01', 0, 512)],
  ['bochs', '', begins(BOCHS)],
  ['cloop', '', begins(CLOOP)],
  ['gzip', '', latin1('\x1f\x8b\x08\0\0\0\0\0\0\x03')],
  ['gzip', 'with a name', latin1('\x1f\x8b\x08\x08\0\0\0\0\0\x03disk.img\0')],
  ['zstd', '', latin1('\x28\xb5\x2f\xfd\x04\0')],
  ['zstd', 'behind a frame to be skipped', latin1('\x50\x2a\x4d\x18\x04\0\0\0abcd\x28\xb5\x2f\xfd')],
  ['zstd', 'behind a long frame to be skipped', begins('\x5f\x2a\x4d\x18\0\x10\0\0')],
  ['xz', '', latin1('\xfd7zXZ\0\0\x04')],
  ['bzip2', '', latin1('BZh91AY&SY')],
  ['bzip2', 'of nothing', latin1('BZh9\x17rE8P\x90\0\0\0\0')],
]

/** The formats of {@link FOREIGN_FILES} for which there is a driver: the programs open them. */
export const FORMATS_WITH_DRIVER: ReadonlySet<string> = new Set([
  'qcow2',
  'qed',
  'vhdx',
  'vdi',
  'parallels',
  'dmg',
  'bochs',
  'cloop',
])
