/**
 * The parent of an image: its backing file, which shows through where the image holds nothing. The image names the content that it
 * was made over by an id; over another content, what it holds would make no sense.
 */
import {
  type BlockChild,
  BlockError,
  type BlockNode,
  backingIsZero,
  readBacking,
} from '@vmblock/block-core/driver'
import { idText, NO_PARENT } from './format/descriptor.ts'

/** See the head of this file. */
export class Parent {
  readonly #file: BlockChild
  readonly #cid: number
  #backing: BlockChild | undefined
  /** The backing file that was found to have the right content. */
  #right: BlockChild | undefined

  /**
   * @param file the image's own, to which steps are announced
   * @param cid the content id that the image names; undefined and {@link NO_PARENT}: any content is right, which a user gave
   */
  constructor(file: BlockChild, cid: number | undefined) {
    this.#file = file
    this.#cid = cid ?? NO_PARENT
  }

  get backing(): BlockChild | undefined {
    return this.#backing
  }
  set backing(backing: BlockChild | undefined) {
    this.#backing = backing
  }

  /** Reads at a guest offset: zeroes, if there is no parent. @throws BlockError EINVAL if it has another content */
  async read(offset: number, into: Uint8Array): Promise<void> {
    if (this.#backing !== this.#right) await this.#check()
    await readBacking(this.#file, this.#backing, offset, into)
  }

  /** Whether a guest range is known to show zeroes. @throws BlockError EINVAL */
  async isZero(offset: number, bytes: number): Promise<boolean> {
    if (this.#backing !== this.#right) await this.#check()
    return backingIsZero(this.#backing, offset, bytes)
  }

  async #check(): Promise<void> {
    const backing = this.#backing
    if (backing && this.#cid !== NO_PARENT) {
      let node: BlockNode = backing.node
      while (node.driver.kind === 'filter' && node.file) node = node.file.node
      const { formatSpecific } = await node.info()
      if (formatSpecific?.type !== 'vmdk')
        throw new BlockError('EINVAL', `The backing file '${node.filename}' is not a vmdk image`)
      const { cid } = formatSpecific.data
      if (cid !== this.#cid)
        throw new BlockError(
          'EINVAL',
          `The backing file '${node.filename}' was changed since the image was made over it: its CID is ${idText(Number(cid))}, not ${idText(this.#cid)}`,
        )
    }
    this.#right = backing
  }
}
