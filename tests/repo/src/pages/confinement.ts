/** What docs/confinement.md finds: a base, and a folder for images beside it. */
import { mkdir } from 'node:fs/promises'
import { create } from 'vmblock'

/** Makes both. */
export async function prepare(): Promise<void> {
  await mkdir('images')
  await create('base.qcow2', { size: '64M' })
}
