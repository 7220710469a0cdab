/** The VM state of an encrypted image: requests of any length, in whole sectors. */
import { alignDown, alignUp, type NodeOps, SECTOR } from '@vmblock/block-core/driver'

type StateOps = Pick<NodeOps, 'readVmState' | 'writeVmState'>

/** @param plain take requests of whole sectors */
export function inWholeSectors({ readVmState, writeVmState }: Required<StateOps>): Required<StateOps> {
  const isWhole = (offset: number, bytes: number): boolean => offset % SECTOR === 0 && bytes % SECTOR === 0
  const around = async (offset: number, bytes: number) => {
    const start = alignDown(offset, SECTOR)
    const whole = new Uint8Array(alignUp(offset + bytes, SECTOR) - start)
    await readVmState(start, whole)
    return { start, whole, part: whole.subarray(offset - start, offset - start + bytes) }
  }
  return {
    async readVmState(offset, into) {
      if (isWhole(offset, into.length)) return readVmState(offset, into)
      into.set((await around(offset, into.length)).part)
    },
    async writeVmState(offset, from) {
      if (isWhole(offset, from.length)) return writeVmState(offset, from)
      const { start, whole, part } = await around(offset, from.length)
      part.set(from)
      await writeVmState(start, whole)
    },
  }
}
