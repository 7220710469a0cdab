/** How a driver makes new images: types only. A driver returns it on request, so that it may be loaded late. */
import type { OptionTable, OptionValues } from '../text/options.ts'
import type { BlockNode } from './node.ts'

/** The input of {@link Creation.create}. */
export interface CreateContext<C> {
  /** An open node to be formatted, growable unless it is a device. */
  readonly file: BlockNode
  /** An open node for the data, if the options ask for an external data file. */
  readonly dataFile?: BlockNode | undefined
  /** The creation options, parsed. */
  readonly options: C
  /**
   * The bytes of a secret that the options name. Absent: there are none.
   *
   * @throws BlockError EINVAL for an unknown id
   */
  secret?(id: string): Promise<Uint8Array>
}

/** The input of {@link Creation.measure}. */
export interface MeasureContext<C> {
  /** An open node whose content the image would hold. Absent: it would be empty. */
  readonly source?: BlockNode | undefined
  /** The creation options, parsed; their size counts without a source. */
  readonly options: C
}

/** How large an image would be. All numbers are bytes of its file, or of its files together. */
export interface MeasureReport {
  /** With the data that is there now. */
  readonly requiredBytes: number
  /** When all of the disk has been written. */
  readonly fullyAllocatedBytes: number
  /** Besides, for copies of the source's persistent bitmaps. Absent if it cannot have any, or the image cannot. */
  readonly bitmapBytes?: number
}

/** The making of images in one format. */
export interface Creation<C extends OptionTable = OptionTable> {
  /** In the order QEMU prints them. */
  readonly options: C
  /**
   * Checks those options of {@link create} that do not depend on the file, before a file is made or emptied.
   *
   * @throws BlockError what `create` would throw for them
   */
  check?(options: OptionValues<C>): Promise<void>
  /** Says how large an image would be. */
  measure?(context: MeasureContext<OptionValues<C>>): Promise<MeasureReport>
  /** Formats an open file. */
  create(context: CreateContext<OptionValues<C>>): Promise<void>
}
