/** How a driver makes new images: types only. A driver returns it on request, so that it may be loaded late. */
import type { OptionTable, OptionValues } from '../text/options.ts'
import type { BlockNode } from './node.ts'
import type { NodeInfo } from './reports.ts'

/** An image that a new one is to stand over. */
export interface BackingFacts {
  /** The driver that opened it. */
  readonly driver: string
  /** What that driver says of it. */
  readonly info: NodeInfo
}

/** The input of {@link Creation.create}. */
export interface CreateContext<C> {
  /** An open node to be formatted, growable unless it is a device. */
  readonly file: BlockNode
  /** The name of the image, for what it says of itself; empty if it has none. */
  readonly filename?: string
  /** An open node for the data, if the options ask for an external data file. */
  readonly dataFile?: BlockNode | undefined
  /** Open nodes for the files that {@link Creation.furtherFiles} names, in that order. Absent: the caller gave none. */
  readonly further?: readonly BlockNode[] | undefined
  /** The creation options, parsed. */
  readonly options: C
  /**
   * Opens the backing file that the options name, reads what describes it, and closes it. Absent: there is none, or nothing
   * says where it is.
   *
   * @throws BlockError of opening it
   */
  readonly describeBacking?: (() => Promise<BackingFacts>) | undefined
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
  /**
   * The names of the files that such an image has beside its own: as the image will name them, relative to itself. They are made
   * with it. Called after {@link check}. Absent: it is one file.
   *
   * @param filename the name of the image; empty if it has none
   */
  furtherFiles?(options: OptionValues<C>, filename: string): readonly string[]
  /** Formats an open file. */
  create(context: CreateContext<OptionValues<C>>): Promise<void>
}
