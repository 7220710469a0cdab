/** Code that few openings need is loaded when it is first asked for: so a page starts with less. */
import { BlockError, messageOf } from './errors.ts'

/**
 * A door to a module that bundlers may keep in a file of its own. It is loaded once; after a failure the next call tries
 * again. Whoever needs it asks before anything is changed: offline, a part may not be there.
 *
 * @param what for a person: `The code for ${what} could not be loaded`
 * @param load `() => import('./module.ts')`
 * @returns what gives the module, or throws BlockError EIO
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
