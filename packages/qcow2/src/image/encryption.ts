/** What an open image knows of its encryption. The code for it is loaded late: see the folder encryption/. */
import type { NodeOps } from '@vmblock/block-core/driver'
import type { ClusterStore } from './cluster-store.ts'

/** The encryption of one open image. */
export interface ImageEncryption {
  /** Facts for `info`, which need no key. @throws BlockError for a broken LUKS header; the error of the file */
  facts(): Promise<Readonly<Record<string, unknown>>>
  /** A store for plain data, over one for what is stored. */
  around(store: ClusterStore): ClusterStore
  /** The operations of the image, for which `plain` are those of one that is not encrypted. */
  operations(plain: NodeOps): NodeOps
  /** The same for a view of a snapshot, which shares the key with the image. */
  viewOperations(plain: NodeOps): NodeOps
  /**
   * Changes key slots.
   *
   * @param options those of `amend`, parsed
   * @param force also what loses all data
   * @throws BlockError in QEMU's words; the error of the file
   */
  amend(options: Readonly<Record<string, unknown>>, force: boolean): Promise<void>
}
