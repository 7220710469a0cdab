/** Facts of an image, as `qemu-img info` prints them. */
import type { BlockChild, NodeInfo } from '@vmblock/block-core/driver'
import { NO_PARENT } from './format/descriptor.ts'
import type { Image } from './image.ts'

/** What `info` tells. */
export async function infoOf(image: Image): Promise<NodeInfo> {
  const { extents, file, cid, descriptor, createType } = image
  const sizes = new Set(extents.map(({ grainSize }) => grainSize))
  const [grainSize = 0] = sizes
  const files = new Set<BlockChild>([file, ...extents.flatMap((extent) => extent.file ?? [])])
  let actualSize: number | undefined = 0
  if (files.size > 1)
    for (const each of files) {
      const { actualSize: bytes } = await each.node.info()
      actualSize = bytes === undefined || actualSize === undefined ? undefined : actualSize + bytes
    }
  else actualSize = undefined
  return {
    ...(sizes.size === 1 && grainSize > 0 && { clusterSize: grainSize }),
    ...(descriptor.parentName !== undefined && {
      backingFilename: descriptor.parentName,
      // No other format has content ids.
      backingFormat: 'vmdk',
    }),
    ...(actualSize !== undefined && { actualSize }),
    formatSpecific: {
      type: 'vmdk',
      data: {
        cid: cid ?? 0,
        'parent-cid': descriptor.parentCid ?? NO_PARENT,
        'create-type': createType,
        extents: extents.map((extent) => ({
          ...(extent.isCompressed && { compressed: true }),
          'virtual-size': extent.bytes,
          filename: extent.file?.node.filename ?? '',
          ...(extent.grainSize > 0 && { 'cluster-size': extent.grainSize }),
          format: extent.type,
        })),
      },
    },
  }
}
