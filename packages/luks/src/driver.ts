/** The driver for disks that are encrypted as a whole: one object, whose operations are loaded with the first image. */
import { defineDriver, loadOnce, metadata, storage, text, viewOf } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
const loadParts = loadOnce('luks images', () => import('./late-parts.ts'))

const MAGIC = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]

/** 100 for versions 1 and 2. QEMU does not know 2, and takes it for raw. */
function probe(head: Uint8Array): number {
  const isLuks = head.length >= 8 && MAGIC.every((byte, i) => head[i] === byte)
  return isLuks && [1, 2].includes(viewOf(head).getUint16(6)) ? 100 : 0
}

/** Disks in the luks format. */
export const luks = defineDriver({
  name: 'luks',
  kind: 'format',
  // The latter is how other formats spell it: a program that guesses the format can give either.
  options: { keySecret: text(), 'encrypt.keySecret': text() },
  // `header` is the file of a header that is kept apart from the data.
  children: { file: storage, header: metadata },
  creation: async () => (await loadParts()).luksCreation,
  amendOptions: async () => (await loadParts()).amendOptions,
  isNoiseWhenNew: true,
  probe,
  open: async (context) => (await loadParts()).openImage(context),
})
