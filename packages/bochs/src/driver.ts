/** The Bochs driver: one object, whose operations are loaded with the first image. */
import { defineDriver, loadOnce } from '@vmblock/block-core/driver'
import { isGrowing } from './format/header.ts'

const loadOpen = loadOnce('reading images of Bochs', () => import('./open-image.ts'))

/** Growing images of Bochs. They are only read. */
export const bochs = defineDriver({
  name: 'bochs',
  kind: 'format',
  probe: (head) => (isGrowing(head) ? 100 : 0),
  open: async (context) => (await loadOpen()).openImage(context),
})
