/** Functions of the C library, of which the system calls are made. */
import type { Where } from './host-calls.ts'

/** The part of koffi that is used here. `async` calls keep their arguments alive until they end. */
export interface ForeignFunctions {
  readonly version: string
  readonly os: { readonly errno: Readonly<Record<string, number>> }
  /** Functions of the C library that Node itself is linked with. */
  load(path: null): { func(signature: string): unknown }
  /** The address of a view's first byte. */
  address?(bytes: Uint8Array): bigint
  /** The errno of the last call, or of the call whose callback is running. */
  errno(): number
}

/** A function of the C library that returns -1 and sets errno when it fails. */
export interface SystemCall {
  /** @throws an error with the errno's name as its `code` */
  now(args: readonly unknown[]): number
  at(where: Where | undefined, ...args: unknown[]): Promise<number>
}
