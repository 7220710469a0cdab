/** The VHD driver: one object. What opens and makes images is loaded when it is needed. */
import { BlockError, cow, defineDriver, loadOnce, type OptionType, storage } from '@vmblock/block-core/driver'
import { footerPlaces, hasCookie } from './format/cookie.ts'
import type { SizeRule } from './format/footer.ts'

/** @throws BlockError EIO if the code cannot be loaded */
const loadOpening = loadOnce('opening VHD images', () => import('./open-image.ts'))
/** @throws BlockError EIO if the code cannot be loaded */
const loadCreation = loadOnce('making VHD images', () => import('./create.ts'))

/** Which of the two sizes in a footer counts. Default: what the program that made the image goes by. */
const sizeRule: OptionType<SizeRule> = {
  type: 'str',
  help: '',
  parse(value) {
    if (value === 'chs' || value === 'current_size') return value
    throw new BlockError('EINVAL', `Invalid size calculation mode: '${value}'`)
  },
}

/** The VHD format driver, under the name that it has in QEMU. */
export const vpc = defineDriver({
  name: 'vpc',
  kind: 'format',
  options: { force_size_calc: sizeRule },
  children: { file: storage, backing: cow },
  probe: (head) => (hasCookie(head) ? 100 : 0),
  // QEMU takes fixed images for raw disks.
  probeTail: (tail) => (footerPlaces(tail.length).some((at) => hasCookie(tail, at)) ? 100 : 0),
  creation: async () => (await loadCreation()).vpcCreation,
  open: async (context) => (await loadOpening()).openImage(context),
})
