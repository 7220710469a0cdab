/** What docs/partitions.md finds: disks with partitions. */
import { create, open } from 'vmblock'

const MIB = 2 ** 20

/** Makes a disk with a GPT, and one with an MBR. */
export async function prepare(): Promise<void> {
  await create('gpt.qcow2', { size: 64 * MIB })
  await using gpt = await open('gpt.qcow2')
  const header = Buffer.alloc(512)
  header.write('EFI PART')
  header.writeBigUInt64LE(2n, 72)
  header.writeUInt32LE(128, 80)
  header.writeUInt32LE(128, 84)
  await gpt.write(512, header)
  const table = Buffer.alloc(128 * 128)
  // A Linux file system, and a system partition of EFI.
  table.set(Buffer.from('af3dc60f838472478e793d69d8477de4', 'hex'), 0)
  table.writeBigUInt64LE(2048n, 32)
  table.writeBigUInt64LE(BigInt((17 * MIB) / 512 - 1), 40)
  table.set(Buffer.from('28732ac11ff8d211ba4b00a0c93ec93b', 'hex'), 128)
  table.writeBigUInt64LE(BigInt((17 * MIB) / 512), 128 + 32)
  table.writeBigUInt64LE(BigInt((33 * MIB) / 512 - 1), 128 + 40)
  await gpt.write(1024, table)

  await create('mbr.img', { size: 16 * MIB })
  await using mbr = await open('mbr.img', { format: 'raw' })
  const sector = Buffer.alloc(512)
  sector.writeUInt16BE(0x55aa, 510)
  for (const [at, type, start, end] of [
    [446, 0x0c, 1, 9],
    [462, 0x83, 9, 16],
  ] as const) {
    sector.writeUInt8(type, at + 4)
    sector.writeUInt32LE((start * MIB) / 512, at + 8)
    sector.writeUInt32LE(((end - start) * MIB) / 512, at + 12)
  }
  await mbr.write(0, sector)
}
