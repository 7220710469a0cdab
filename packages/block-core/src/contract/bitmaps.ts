/** Dirty bitmaps that an image keeps: which parts of its disk were written since a point in time. */
import type { DirtyBitmap } from '../base/dirty-bitmap.ts'

/** One bitmap of an image. */
export interface BitmapInfo {
  readonly name: string
  /** Bytes of the disk that one bit stands for. */
  readonly granularity: number
  /** Writes are recorded. */
  readonly enabled: boolean
  /**
   * The bitmap was not saved: the program that used it crashed. It says nothing of the disk any more, and can only be
   * removed.
   */
  readonly inconsistent: boolean
  /** The image file says that a program uses the bitmap, which may be this one. */
  readonly inUse: boolean
}

/** What a new bitmap is like. */
export interface NewBitmap {
  /**
   * Bytes of the disk that one bit stands for: a power of two from 512 to 2^31. Default: the size of a cluster, at least
   * 4 KiB and at most 64 KiB.
   */
  readonly granularity?: number | undefined
  /** Records no writes until it is enabled. */
  readonly disabled?: boolean | undefined
}

/** The bitmaps of an open image, as its driver implements them. No request is in flight while one of these runs. */
export interface BitmapOps {
  /** The image can keep bitmaps in the version of its format that it has. */
  readonly isSupported: boolean
  /** In the order of the image's directory; new ones come last. */
  list(): Promise<readonly BitmapInfo[]>
  /**
   * Makes a bitmap without dirty bits. It is in the image once the image was closed.
   *
   * @throws BlockError EINVAL in QEMU's words
   */
  add(name: string, options: NewBitmap): Promise<void>
  /** Removes a bitmap, durably. @throws BlockError ENOENT */
  remove(name: string): Promise<void>
  /** Forgets all that was recorded. @throws BlockError ENOENT; EINVAL if it is inconsistent */
  clear(name: string): Promise<void>
  /** Starts or stops recording writes. @throws BlockError ENOENT; EINVAL if it is inconsistent */
  setEnabled(name: string, enabled: boolean): Promise<void>
  /**
   * Adds the dirty bits of another bitmap.
   *
   * @throws BlockError ENOENT; EINVAL if it is inconsistent, or if the sizes of the disks differ
   */
  merge(name: string, source: DirtyBitmap): Promise<void>
  /** A copy of what was recorded. @throws BlockError ENOENT; EINVAL if it is inconsistent */
  read(name: string): Promise<DirtyBitmap>
}
