/** What the README of qemu-img-ts finds: an old image. */
import { create } from 'vmblock'

/** Makes it. */
export const prepare = (): Promise<void> => create('old.qed', { size: '64M' })
