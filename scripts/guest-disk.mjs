// A disk that boots the guest of the v86 tests through the BIOS: a boot sector that loads the kernel and
// initramfs that follow it, and one empty partition. It follows Documentation/arch/x86/boot.rst of Linux, and
// INT 13h function 42h and INT 15h function 87h of the BIOS.

/** Bytes of a sector. */
const SECTOR = 512
/** Sectors that are loaded at a time, through memory below 1 MiB. */
const CHUNK = 64

/** Addresses in memory: of the boot sector, of its buffer, and where the kernel expects its parts. */
const ORIGIN = 0x7c00
const SETUP_SEGMENT = 0x9000
const BUFFER_SEGMENT = 0x1000
const KERNEL = 0x100000
const INITRAMFS = 0x4000000
const COMMAND_LINE = 0x9e000

/** Sectors that fill the memory from the setup code to the command line. */
const SETUP_SECTORS = (COMMAND_LINE - SETUP_SEGMENT * 16) / SECTOR + 1

/** The offset of the partition in bytes. */
export const PARTITION = 16 * 2 ** 20

/** Options that make the kernel start quickly: no timing calibration, no mitigations, no BIOS queries. */
const COMMAND_LINE_TEXT =
  'console=ttyS0 quiet tsc=reliable lpj=4000000 mitigations=off nokaslr random.trust_cpu=on nosmp noreplace-smp edd=off'

const word = (value) => [value & 0xff, (value >> 8) & 0xff]
const chunksOf = (bytes) => Math.ceil(bytes.length / SECTOR / CHUNK)

/** The address of the disk address packet, which tells the BIOS what to read. It is updated in place. */
const PACKET = ORIGIN + 0x100
/** Descriptors of a move by the BIOS: the third is of the source, the fourth of the target. */
const DESCRIPTORS = ORIGIN + 0x110
const TARGET = DESCRIPTORS + 24

/** 16-bit machine code. */
function code(kernelChunks, initramfsChunks) {
  const bytes = []
  const labels = {}
  const references = []
  const emit = (...values) => bytes.push(...values.flat())
  const label = (name) => {
    labels[name] = bytes.length
  }
  const call = (name) => {
    emit(0xe8)
    references.push({ at: bytes.length, name, bytes: 2 })
    emit(0, 0)
  }
  const jump = (opcode, name) => {
    emit(opcode)
    references.push({ at: bytes.length, name, bytes: 1 })
    emit(0)
  }
  const setWord = (at, value) => emit(0xc7, 0x06, word(at), word(value))
  const setByte = (at, value) => emit(0xc6, 0x06, word(at), value)

  // cli; ds = es = ss = 0; sp = ORIGIN; sti; cld
  emit(0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, word(ORIGIN), 0xfb, 0xfc)
  call('read')
  setWord(PACKET + 2, CHUNK)
  setWord(PACKET + 6, BUFFER_SEGMENT)
  setWord(PACKET + 8, 1 + SETUP_SECTORS)
  // bp = number of chunks
  emit(0xbd, word(kernelChunks))
  call('load')
  setWord(TARGET + 2, INITRAMFS & 0xffff)
  setByte(TARGET + 4, (INITRAMFS >> 16) & 0xff)
  setByte(TARGET + 7, INITRAMFS >> 24)
  emit(0xbd, word(initramfsChunks))
  call('load')
  // cli; ds = es = fs = gs = ss = the setup code's; sp = the end of its heap; jump past its first sector
  emit(0xfa, 0xb8, word(SETUP_SEGMENT), 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0)
  emit(0xbc, word(0xe000), 0xea, word(0), word(SETUP_SEGMENT + SECTOR / 16))

  label('read')
  // si = packet; ah = 42h; dl = 80h; int 13h
  emit(0xbe, word(PACKET), 0xb4, 0x42, 0xb2, 0x80, 0xcd, 0x13)
  jump(0x72, 'failed')
  emit(0xc3)

  label('load')
  call('read')
  // si = descriptors; cx = words; ah = 87h; int 15h
  emit(0xbe, word(DESCRIPTORS), 0xb9, word((CHUNK * SECTOR) / 2), 0xb4, 0x87, 0xcd, 0x15)
  jump(0x72, 'failed')
  // Advance the 32-bit sector number and the 24-bit target.
  emit(0x83, 0x06, word(PACKET + 8), CHUNK, 0x83, 0x16, word(PACKET + 10), 0)
  emit(0x81, 0x06, word(TARGET + 2), word(CHUNK * SECTOR), 0x80, 0x16, word(TARGET + 4), 0)
  // dec bp; jnz load
  emit(0x4d)
  jump(0x75, 'load')
  emit(0xc3)

  label('failed')
  // Report the failure over the serial line, and halt.
  emit(0xb0, 0x46, 0xba, word(0x3f8), 0xee, 0xf4, 0xeb, 0xfd)

  for (const { at, name, bytes: length } of references) {
    const distance = labels[name] - (at + length)
    bytes.splice(at, length, ...word(distance).slice(0, length))
  }
  return bytes
}

function bootSector(kernelChunks, initramfsChunks, sectors) {
  const sector = new Uint8Array(SECTOR)
  sector.set(code(kernelChunks, initramfsChunks))
  const view = new DataView(sector.buffer)
  const packet = PACKET - ORIGIN
  sector.set([0x10, 0, ...word(SETUP_SECTORS), ...word(0), ...word(SETUP_SEGMENT), 1], packet)
  const descriptor = (at, base) => {
    view.setUint16(at, 0xffff, true)
    view.setUint32(at + 2, base, true)
    view.setUint8(at + 5, 0x93)
  }
  descriptor(DESCRIPTORS + 16 - ORIGIN, BUFFER_SEGMENT * 16)
  descriptor(TARGET - ORIGIN, KERNEL)
  // One Linux partition, addressed by sectors.
  const start = PARTITION / SECTOR
  sector.set([0, 0xff, 0xff, 0xff, 0x83, 0xff, 0xff, 0xff], 446)
  view.setUint32(446 + 8, start, true)
  view.setUint32(446 + 12, sectors - start, true)
  sector.set([0x55, 0xaa], 510)
  return sector
}

/**
 * Returns the first bytes of the disk, up to the partition.
 *
 * @param kernel a bzImage
 * @param initramfs the initramfs to boot with
 * @param bytes of the whole disk
 */
export function bootPart(kernel, initramfs, bytes) {
  const disk = new Uint8Array(PARTITION)
  const header = new DataView(kernel.buffer, kernel.byteOffset)
  const setupBytes = (1 + (header.getUint8(0x1f1) || 4)) * SECTOR
  const body = kernel.subarray(setupBytes)
  disk.set(bootSector(chunksOf(body), chunksOf(initramfs), bytes / SECTOR))

  const setup = disk.subarray(SECTOR, (1 + SETUP_SECTORS) * SECTOR)
  setup.set(kernel.subarray(0, setupBytes))
  setup.set(new TextEncoder().encode(`${COMMAND_LINE_TEXT}\0`), COMMAND_LINE - SETUP_SEGMENT * 16)
  const view = new DataView(setup.buffer, setup.byteOffset)
  view.setUint16(0x1fa, 0xffff, true) // keep the current video mode
  view.setUint8(0x210, 0xff) // a loader without a number
  view.setUint8(0x211, view.getUint8(0x211) | 0x80) // it provides a heap
  view.setUint32(0x218, INITRAMFS, true)
  view.setUint32(0x21c, initramfs.length, true)
  view.setUint16(0x224, 0xde00, true)
  view.setUint32(0x228, COMMAND_LINE, true)

  const at = (1 + SETUP_SECTORS) * SECTOR
  disk.set(body, at)
  disk.set(initramfs, at + chunksOf(body) * CHUNK * SECTOR)
  return disk
}
