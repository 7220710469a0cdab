/** One file of a new image: looked at, made or emptied, filled by its image, and taken back if that fails. */
import { wrongValue } from '../base/arguments.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { AnyDriver, CreatedFile } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { isDriver } from '../contract/registry.ts'
import { splitDriverOptions, takeCommon } from '../graph/common-options.ts'
import { isBlockNode } from '../graph/known-nodes.ts'
import { isTree, nestOptions } from '../text/option-tree.ts'
import { type OptionTable, parseOptions, type RawOptions } from '../text/options.ts'
import { combinePaths } from '../text/paths.ts'
import { requireBlank } from './format-image.ts'
import { openNode } from './open.ts'

/** An open node of the caller's, or a file that is made, or was there before. */
export class ImageFile {
  readonly #environment: OpenEnvironment
  /** How a file is opened; undefined for a node of the caller's. */
  readonly #options: RawOptions | undefined
  readonly #driver: AnyDriver | undefined
  #node: BlockNode | undefined
  #exists = false
  #created: CreatedFile | undefined
  /** Whether content was lost that was there before, if any was. */
  #isEmptied = false
  /** Whether it holds content that the image is made around. */
  #isKept = false

  /** @throws BlockError EINVAL that names the argument; ENOENT for an unknown driver; ENOTSUP if it makes no files */
  constructor(environment: OpenEnvironment, source: unknown, argument: string) {
    this.#environment = environment
    if (isBlockNode(source)) {
      this.#node = source
      this.#exists = true
      return
    }
    if (!isTree(source)) throw wrongValue(argument, 'the options of a node, or an open one', source)
    const { driver = 'file' } = source
    if (typeof driver !== 'string' && !isDriver(driver))
      throw wrongValue(`${argument}.driver`, 'a driver, or the name of one', driver)
    this.#options = { ...source, driver }
    this.#driver = isDriver(driver) ? driver : environment.registry.get(driver)
    if (!this.#driver.createFile)
      throw new BlockError(
        'ENOTSUP',
        `Protocol driver '${this.#driver.name}' does not support image creation`,
      )
  }

  /** The file is there, and keeps its content: it is only opened. To be called before {@link look}. */
  keep(): void {
    this.#isKept = true
  }

  /** Whether it was given by its name: not an open node. */
  get isOwn(): boolean {
    return this.#options !== undefined
  }
  /** Whether it was there when {@link look} was called. */
  get exists(): boolean {
    return this.#exists
  }
  /** The open file. Only from {@link make} to {@link finish}. */
  get node(): BlockNode {
    return this.#node!
  }
  /** Its name, which names in the image are relative to; empty if none is known. */
  get filename(): string {
    if (!this.#options) return this.node.filename
    const { driver: _, ...own } = this.#options
    const { filename } = own
    if (this.#driver!.takesPaths && typeof filename === 'string') return filename
    return this.#driver!.nameFromOptions?.(own, undefined) ?? ''
  }
  /**
   * A further file of the image.
   *
   * @param name relative to the image
   * @throws BlockError ENOTSUP if this is an open node, or a file of a protocol whose files have no names
   */
  beside(name: string): ImageFile {
    const { filename } = this.#options ?? {}
    if (typeof filename !== 'string' || !this.isOwn)
      throw new BlockError(
        'ENOTSUP',
        `The image needs further files ('${name}'): give its file by name, not as an open node`,
      )
    return new ImageFile(
      this.#environment,
      { ...this.#options, filename: combinePaths(filename, name) },
      'file',
    )
  }
  /** The options of making a file of this protocol. */
  get createOptions(): OptionTable {
    return this.#driver?.createFileOptions ?? {}
  }

  /**
   * Looks whether the file exists, before anything is made: it must open for writing, and without `overwrite` hold
   * nothing. A file that must not be overwritten stays open: so nothing is written to it before it is formatted.
   *
   * @throws BlockError EEXIST; EBUSY if it is in use; any other error of opening
   */
  async look(overwrite: boolean): Promise<void> {
    if (!this.#options) return
    try {
      this.#node = await openNode(this.#environment, this.#options)
    } catch (error) {
      if (isBlockError(error, 'ENOENT') && !this.#isKept) return
      throw error
    }
    this.#exists = true
    if (this.#isKept) return
    if (!overwrite) await requireBlank(this.#node)
    else await this.#close()
  }

  /** Makes the file, or empties it, and opens it. @throws BlockError EBUSY, the errors of the protocol */
  async make(options: RawOptions): Promise<void> {
    if (!this.#options || this.#isKept) return
    if (!this.#node) {
      this.#created = await this.#createFile(options)
      this.#isEmptied = true
      this.#node = await openNode(this.#environment, this.#options)
      return
    }
    this.#isEmptied = true
    if (this.#node.growable && this.#node.size > 0) await this.#node.truncate(0)
  }

  /** Makes the content durable, and closes what was opened here. @throws BlockError of flushing, of closing */
  async finish(): Promise<void> {
    // Formats flush what they write; not every device can be flushed (/dev/null), and nothing else was written there.
    if (this.node.growable) await this.node.flush()
    if (this.#options) await this.#close()
    else this.#isEmptied = !this.#isKept
  }

  /** After a failure: closes the file without writing to it, and takes it back. @throws BlockError */
  async abandon(): Promise<void> {
    if (!this.#options) return
    const node = this.#node
    this.#node = undefined
    await node?.crash()
    await this.remove()
  }

  /** Removes a file that was made, and empties one that existed before. @throws BlockError EBUSY if it is in use */
  async remove(): Promise<void> {
    if (!this.#isEmptied) return
    if (this.#created) await this.#created.remove()
    else if (this.#options) await this.#createFile({})
    else if (this.node.growable) await this.node.truncate(0)
    this.#isEmptied = false
  }

  async #close(): Promise<void> {
    const node = this.#node
    this.#node = undefined
    await node!.close()
  }

  #createFile(options: RawOptions): Promise<CreatedFile | undefined> {
    const { driver: _, ...own } = this.#options!
    const driver = this.#driver!
    const { known } = splitDriverOptions(driver, takeCommon(nestOptions(own), false).rest)
    return driver.createFile!(
      parseOptions((driver.options as OptionTable | undefined) ?? {}, known),
      0,
      'off',
      parseOptions(this.createOptions, options),
    )
  }
}
