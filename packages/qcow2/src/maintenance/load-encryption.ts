/** Loads the code for encrypted images, with the ciphers. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadEncryption = loadOnce('encrypted images', () => import('../encryption/encryption.ts'))
