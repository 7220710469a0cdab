/** Loads rarely needed code on first use, so that a web page starts with less. */
import { BlockError, messageOf } from './errors.ts'

/**
 * Wraps the import of a module that bundlers may put in a separate file. The module is loaded once; after a
 * failure the next call tries again. Callers load it before they change anything: offline, the file may not
 * be available.
 *
 * @param what for the message `The code for ${what} could not be loaded`
 * @param load `() => import('./module.ts')`
 * @returns a function that returns the module, or throws BlockError EIO
 */
export function loadOnce<Module>(what: string, load: () => Promise<Module>): () => Promise<Module> {
  let loaded: Promise<Module> | undefined
  return () => {
    loaded ??= load().catch((cause: unknown) => {
      loaded = undefined
      throw new BlockError('EIO', `The code for ${what} could not be loaded: ${messageOf(cause)}`, { cause })
    })
    return loaded
  }
}
