/**
 * The application's control over what images may open. An image holds only names; an {@link ImageResolver} decides
 * what a name means, and whether it may be opened at all. There is no default.
 */

import { BlockError } from '../base/errors.ts'
import type { RawOptions } from '../text/options.ts'
import type { ChildReference } from './driver-facts.ts'

/** Resolves the names that images hold. */
export interface ImageResolver {
  /**
   * Turns a name found in an image into the options of a node.
   *
   * @param parent the file name of the node whose header holds the name, empty if the node has none
   * @param role the option name of the child (`backing`, `data-file`): QEMU interprets the names of backing
   *   files and data files differently
   * @throws BlockError to refuse it
   */
  resolve(reference: ChildReference, parent: string, role: string): Promise<RawOptions>
}

/** Opens nothing that was not named explicitly: for libraries and browsers. */
export const denyHost: ImageResolver = {
  resolve({ filename }) {
    return Promise.reject(
      new BlockError('EACCES', `the image refers to '${filename}', and implicit files are not allowed`),
    )
  },
}
