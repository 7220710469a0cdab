/** Code for encrypted images alone, in one part that is loaded on first use. */

export type { NewEncryption } from './new-encryption.ts'
export { planEncryption } from './new-encryption.ts'
export { openEncryption } from './open-encryption.ts'
