/** Functions of the C library, as the system calls are made of them. */
import type { Where } from './host-calls.ts'

/** As much of koffi as is used here. `async` calls keep their arguments until they are over. */
export interface ForeignFunctions {
  readonly version: string
  readonly os: { readonly errno: Readonly<Record<string, number>> }
  /** Functions of the C library that Node itself runs on. */
  load(path: null): { func(signature: string): unknown }
  /** Where the first byte of a view lies. */
  address?(bytes: Uint8Array): bigint
  /** As the last call, or the one whose callback is running, left it. */
  errno(): number
}

/** A function of the C library that gives -1 and an errno when it fails. */
export interface SystemCall {
  /** @throws an error with the errno's name as its `code` */
  now(args: readonly unknown[]): number
  at(where: Where | undefined, ...args: unknown[]): Promise<number>
}
