/**
 * A disk as records of an IndexedDB database: one for each block that is not all zeroes, and one for size and
 * block size. Every change is one transaction: it happens completely or not at all.
 */
import { deleteDB, type IDBPDatabase, openDB } from 'idb'
import { BlockError, isBlockError } from '../base/errors.ts'
import { fromWebError } from './web-error.ts'

/** Bytes of a block: a common cluster size, and few enough records for a large disk. */
export const STORE_BLOCK = 65536

/** The facts about a disk, stored beside its blocks. */
interface Facts {
  /** Bytes. */
  readonly size: number
  /** Bytes; {@link STORE_BLOCK} of the version that made the disk. */
  readonly blockSize: number
}

/** An atomic change of a disk. */
export interface StoreChange {
  /** Size in bytes afterwards; blocks beyond it are dropped. */
  readonly size: number
  /** New contents of blocks, by index; undefined: zeroes. */
  readonly blocks: ReadonlyMap<number, Uint8Array | undefined>
  /** Whether to resolve only when the change is on persistent storage (IndexedDB 3.0, "strict"). */
  readonly durable: boolean
}

interface Schema {
  facts: { key: 'disk'; value: Facts }
  blocks: { key: number; value: Uint8Array }
}

const databaseOf = (name: string): string => `vmblock:${name}`

/** One open database. */
export class BlockStore {
  readonly #database: IDBPDatabase<Schema>
  readonly #name: string
  /** Size in bytes after the last change. */
  size: number

  private constructor(database: IDBPDatabase<Schema>, name: string, size: number) {
    this.#database = database
    this.#name = name
    this.size = size
  }

  /** Opens a disk. @throws BlockError ENOENT if it does not exist; EFORMAT if the database is no disk */
  static async open(name: string): Promise<BlockStore> {
    let isThere = true
    const database = await openDB<Schema>(databaseOf(name), 1, {
      upgrade(_, oldVersion, __, transaction) {
        // Opening must not create a database: undo what IndexedDB has begun.
        isThere = oldVersion !== 0
        if (isThere) return
        transaction.done.catch(() => undefined)
        transaction.abort()
      },
    }).catch((error: unknown) => {
      if (!isThere) throw new BlockError('ENOENT', `Could not open '${name}': there is no such disk`)
      throw fromWebError(error, `Could not open '${name}'`)
    })
    try {
      const facts = await database.get('facts', 'disk')
      if (facts?.blockSize !== STORE_BLOCK)
        throw new BlockError('EFORMAT', `Could not open '${name}': the database holds no disk of this kind`)
      return new BlockStore(database, name, facts.size)
    } catch (error) {
      database.close()
      throw fromWebError(error, `Could not open '${name}'`)
    }
  }

  /** Makes an empty disk of `size` bytes, replacing one of that name; if that fails, neither exists. */
  static async create(name: string, size: number): Promise<void> {
    let reason: unknown
    try {
      await deleteDB(databaseOf(name))
      const database = await openDB<Schema>(databaseOf(name), 1, {
        // In one transaction: a page that dies meanwhile leaves no half-made database behind.
        upgrade(fresh, _, __, transaction) {
          // If this transaction fails, the error of opening does not say why.
          transaction.done.catch((error: unknown) => (reason = error))
          fresh.createObjectStore('blocks')
          const put = fresh.createObjectStore('facts').put({ size, blockSize: STORE_BLOCK }, 'disk')
          put.catch(() => undefined)
        },
      })
      database.close()
    } catch (error) {
      await deleteDB(databaseOf(name)).catch(() => undefined)
      throw fromWebError(reason ?? error, `Could not create '${name}'`)
    }
  }

  /** Removes a disk, if it exists, with its database. It must not be open anywhere. */
  static async remove(name: string): Promise<void> {
    await deleteDB(databaseOf(name)).catch((error: unknown) => {
      throw fromWebError(error, `Could not remove '${name}'`)
    })
  }

  /** Whether a database of that name exists, with any content. */
  static async isThere(name: string): Promise<boolean> {
    try {
      ;(await BlockStore.open(name)).close()
      return true
    } catch (error) {
      return !isBlockError(error, 'ENOENT')
    }
  }

  /** Reads the blocks [from, to), in order; undefined: zeroes. */
  async load(from: number, to: number): Promise<(Uint8Array | undefined)[]> {
    try {
      const { store } = this.#database.transaction('blocks')
      return await Promise.all(Array.from({ length: to - from }, (_, index) => store.get(from + index)))
    } catch (error) {
      throw fromWebError(error, `Could not read '${this.#name}'`)
    }
  }

  /**
   * Makes a change. The buffers are copied before the first await: they may be changed again at once.
   *
   * @throws BlockError ENOSPC when the quota is used up; then nothing has changed
   */
  async commit({ size, blocks, durable }: StoreChange): Promise<void> {
    try {
      const transaction = this.#database.transaction(['facts', 'blocks'], 'readwrite', {
        durability: durable ? 'strict' : 'relaxed',
      })
      const store = transaction.objectStore('blocks')
      const requests: Promise<unknown>[] = []
      if (size < this.size) requests.push(store.delete(IDBKeyRange.lowerBound(Math.ceil(size / STORE_BLOCK))))
      for (const [index, content] of blocks)
        requests.push(content ? store.put(content, index) : store.delete(index))
      requests.push(transaction.objectStore('facts').put({ size, blockSize: STORE_BLOCK }, 'disk'))
      await Promise.all([...requests, transaction.done])
      this.size = size
    } catch (error) {
      throw fromWebError(error, `Could not write to '${this.#name}'`)
    }
  }

  /** Closes the database once its transactions in flight have ended. */
  close(): void {
    this.#database.close()
  }
}
