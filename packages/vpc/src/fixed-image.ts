/** Fixed images: the disk, byte for byte, and a footer behind it. */
import { type BlockChild, BlockError, type NodeOps } from '@vmblock/block-core/driver'
import type { FoundFooter } from './find-footer.ts'
import { FOOTER_BYTES } from './format/cookie.ts'
import { diskSize, encodeFooter, type Footer, resizedFooter, type SizeRule } from './format/footer.ts'
import { roundToGeometry } from './format/geometry.ts'

/** One open fixed image. */
export class FixedImage {
  readonly file: BlockChild
  footer!: Footer
  bytes!: Uint8Array
  /** Host offset of the footer. */
  at = 0
  /** Bytes of the disk. */
  size = 0
  /** Something was written that may not be durable. */
  isChanged = false

  constructor(file: BlockChild) {
    this.file = file
  }

  /** Makes everything written so far durable. */
  async flush(): Promise<void> {
    const wasChanged = this.isChanged
    this.isChanged = false
    try {
      await this.file.flush()
    } catch (error) {
      this.isChanged ||= wasChanged
      throw error
    }
  }

  /**
   * Adopts the footer.
   *
   * @throws BlockError EINVAL if the disk does not lie in front of it; EFBIG
   */
  adopt({ footer, bytes, at }: FoundFooter, rule: SizeRule | undefined): void {
    const size = diskSize(footer, rule)
    if (size > at!)
      throw new BlockError(
        'EINVAL',
        `the disk has ${size} bytes, and the file only ${at} in front of its footer`,
      )
    this.footer = footer
    this.bytes = bytes
    this.at = at!
    this.size = size
  }

  /**
   * Makes the disk larger. The last sector of the file is a good footer at any moment: first the old one, then a copy behind
   * the room for the new disk, which says the old size until that room is zero.
   *
   * @throws BlockError what the file throws
   */
  async grow(size: number): Promise<void> {
    const { file } = this
    const geometry = roundToGeometry(size).geometry
    const footer = resizedFooter(this.footer, size, geometry)
    const at = Math.max(size, this.at)
    if (at > this.at) {
      await file.write(at, this.bytes)
      await file.flush()
    }
    await file.writeZeroes(this.size, Math.min(size, this.at + FOOTER_BYTES) - this.size)
    await file.flush()
    const bytes = encodeFooter(footer, this.bytes)
    await file.write(at, bytes)
    await file.flush()
    Object.assign(this, { footer, bytes, at, size })
  }
}

/** The requests of a fixed image. */
export function fixedRequests(
  image: FixedImage,
): Pick<
  NodeOps,
  'read' | 'write' | 'writeZeroes' | 'zeroFlags' | 'discard' | 'blockStatus' | 'flush' | 'writeFlags'
> {
  const { file } = image
  return {
    writeFlags: new Set(['fua']),
    zeroFlags: new Set(['fua', 'mayUnmap', 'noFallback']),
    async read(offset, into) {
      const announced = file.debugEvent('read_aio')
      if (announced) await announced
      await file.read(offset, into)
    },
    async write(offset, from, flags) {
      const announced = file.debugEvent('write_aio')
      if (announced) await announced
      await file.write(offset, from, flags)
      image.isChanged = true
    },
    async writeZeroes(offset, bytes, flags) {
      await file.writeZeroes(offset, bytes, flags)
      image.isChanged = true
    },
    async discard(offset, bytes) {
      await file.discard(offset, bytes)
      image.isChanged = true
    },
    async blockStatus(_offset, bytes) {
      return {
        bytes,
        allocated: true,
        data: true,
        zero: false,
        host: { child: file, offset: _offset },
        recurse: true,
      }
    },
    flush: () => image.flush(),
  }
}
