/** The file that holds header and key slots, as a store. */
import type { LuksStore } from '@vmblock/crypto'

/** A file, as far as a store needs it. */
export interface HeaderFile {
  readonly size: number
  read(offset: number, into: Uint8Array): Promise<void>
  write(offset: number, from: Uint8Array): Promise<void>
  flush(): Promise<void>
}

/** @param isDetached the data is in another file */
export const headerStore = (file: HeaderFile, isDetached: boolean): LuksStore => ({
  isDetached,
  async read(offset, into) {
    const there = Math.min(into.length, Math.max(file.size - offset, 0))
    if (there > 0) await file.read(offset, into.subarray(0, there))
    into.fill(0, there)
  },
  write: (offset, from) => file.write(offset, from),
  flush: () => file.flush(),
})
