/** Types of the scripts that configurations and tests in TypeScript import. */

declare module '*/scripts/package-entries.mjs' {
  /** An entry of a package: the subpath that users import, and its source. */
  export interface PackageEntry {
    /** `.`, `./node`, ... */
    readonly subpath: string
    /** The condition of package.json under which the entry is this module: `node` or `default`. Absent: any. */
    readonly condition?: string
    /** The path below the folder of the package: `src/index.ts`, `src/node-js/index.ts`, ... */
    readonly source: string
    /** The path below `dist`, without an extension: `index`, `node/index`, ... */
    readonly module: string
  }

  /** The entries of the package in `folder`. */
  export function entriesOf(folder: string): PackageEntry[]

  /** The source of every entry of the workspace below `root`, by the name that users import: in Node.js, or elsewhere. */
  export function workspaceEntries(root: string, condition?: 'node' | 'default'): Map<string, string>
}

declare module '*/scripts/repl-picture.mjs' {
  /** What a terminal shows of the REPL's crash and repair, line by line. @param bin the program qemu-io-ts */
  export function transcript(bin: string): string[]

  /** The picture of such lines. */
  export function picture(lines: readonly string[]): string
}

declare module '*/scripts/late-builtins.mjs' {
  /** The plugin for esbuild that lets programs load Node's larger modules late. */
  export const lateBuiltins: import('esbuild').Plugin
}

declare module '*/scripts/manuals.mjs' {
  /** The manual pages of the programs, for man and for docs/: their paths in the repository, and their texts. */
  export function manuals(): Promise<Map<string, string>>
}
