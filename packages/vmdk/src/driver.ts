/** The VMDK driver: one object, whose operations are loaded with the first image. */
import { cow, defineDriver, metadata, storage, viewOf } from '@vmblock/block-core/driver'
import { loadCreation, loadOpen } from './load-parts.ts'

/** `KDMV` and `COWD`, read as little-endian words. */
const MAGICS = [0x564d444b, 0x44574f43]

/** A descriptor, by QEMU's rule: comments and lines of spaces, and then a known version. */
const DESCRIPTOR = /^(?:#[^\n]*\n| +\n)*version=[123]\r?\n/

function probe(head: Uint8Array): number {
  if (head.length < 4) return 0
  if (MAGICS.includes(viewOf(head).getUint32(0, true))) return 100
  return DESCRIPTOR.test(String.fromCharCode(...head.subarray(0, 2048))) ? 100 : 0
}

/** The VMDK format driver. */
export const vmdk = defineDriver({
  name: 'vmdk',
  kind: 'format',
  // Most extents have tables. The image names them, so users need not.
  children: { file: storage, 'extents.*': { ...metadata, isNamedByImage: true }, backing: cow },
  canCompress: true,
  probe,
  creation: async () => (await loadCreation()).vmdkCreation,
  open: async (context) => (await loadOpen()).open(context),
})
