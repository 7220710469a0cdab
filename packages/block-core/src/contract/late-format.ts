/** Drivers of formats that few images have: their code is loaded with the first such image. */
import { loadOnce } from '../base/load-once.ts'
import type { AnyDriver } from './driver.ts'

/**
 * A driver that stands for another one in a registry. The core gets the whole driver before it looks at options, and
 * recognises the images of formats that it knows (VMDK, VHD, ...) without it.
 *
 * @param name of the format, as its driver has it
 * @param load `async () => (await import('@vmblock/vdi')).vdi`
 */
export function lateFormat(name: string, load: () => Promise<AnyDriver>): AnyDriver {
  const whole = loadOnce(`images of the format ${name}`, load)
  return {
    name,
    kind: 'format',
    whole,
    creation: async () => (await whole()).creation?.(),
    open: async (context) => (await whole()).open(context),
  }
}

/** The driver itself, where another stands for it. @throws BlockError EIO if its code cannot be loaded */
export const wholeDriver = async (driver: AnyDriver): Promise<AnyDriver> => (await driver.whole?.()) ?? driver
