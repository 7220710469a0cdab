/** The programs that are compared: ours, run by a version of Node.js, and QEMU's. */
import { join } from 'node:path'
import type { Command } from './child.ts'
import type { Runtime } from './runtimes.ts'

/** A program that exists on both sides, by QEMU's name. */
export type Program = 'qemu-img' | 'qemu-io'

/** Further options for running it. */
export type CommandOptions = Pick<Command, 'stdin'>

/** QEMU's program. */
export const theirs = (program: Program, args: readonly string[], options: CommandOptions = {}): Command => ({
  file: program,
  args,
  ...options,
})

/** Our counterpart of the program. @param root the repository, whose packages are built */
export const ours = (
  root: string,
  { path }: Runtime,
  program: Program,
  args: readonly string[],
  options: CommandOptions = {},
): Command => ({
  file: path,
  args: [join(root, 'packages', `${program}-ts`, 'dist', 'bin.cjs'), ...args],
  ...options,
})
