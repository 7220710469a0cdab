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
  /** Formats an open file. */
  create(context: CreateContext<OptionValues<C>>): Promise<void>
}
