/** The dmg driver: one object, whose operations are loaded with the first image. */
import { defineDriver, loadOnce } from '@vmblock/block-core/driver'
import { findTrailer, isEncrypted } from './format/trailer.ts'

const loadOpen = loadOnce('reading dmg images', () => import('./open-image.ts'))

const CERTAIN = 100

/** Whether the four letters of a trailer do: QEMU goes by the name alone. */
const isNamed = (filename: string): boolean => /\.dmg$/i.test(filename)

/** Images of macOS, as `hdiutil` makes them (UDIF). They are only read. */
export const dmg = defineDriver({
  name: 'dmg',
  kind: 'format',
  probe: (head) => (isEncrypted(head, new Uint8Array(0)) ? CERTAIN : 0),
  // A raw disk may be called *.dmg, too.
  probeTail: (tail, filename) =>
    findTrailer(tail, isNamed(filename)) !== undefined || isEncrypted(new Uint8Array(0), tail) ? CERTAIN : 0,
  open: async (context) => (await loadOpen()).openImage(context),
})
