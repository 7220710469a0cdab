/** The cloop driver: one object, whose operations are loaded with the first image. */
import { defineDriver, loadOnce } from '@vmblock/block-core/driver'
import { SCRIPT } from './format/header.ts'

const loadOpen = loadOnce('reading cloop images', () => import('./open-image.ts'))

/** The score of QEMU: hardly more than that of raw. */
const LIKELY = 2

/** Images of cloop, the compressed loop device of Linux live systems. They are only read. */
export const cloop = defineDriver({
  name: 'cloop',
  kind: 'format',
  probe: (head) =>
    Array.from(SCRIPT).every((character, at) => head[at] === character.charCodeAt(0)) ? LIKELY : 0,
  open: async (context) => (await loadOpen()).openImage(context),
})
