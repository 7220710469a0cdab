/**
 * The entries of the packages. Their only list is `exports` of each package.json, where `dist/x.js` stands for what is
 * built of `src/x.ts`: builds and tests read it here. TypeScript finds the sources by the patterns of tsconfig.json.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** An entry: the subpath that users import, and its source in the package. */
export interface PackageEntry {
  /** `.`, `./node`, ... */
  readonly subpath: string
  /** The path below `dist` and below `src`, without an extension: `index`, `node/index`, ... */
  readonly module: string
}

interface Manifest {
  readonly name: string
  readonly exports?: Readonly<Record<string, string | { readonly import: { readonly default: string } }>>
}

const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

/** The entries of the package in `folder`. */
export const entriesOf = (folder: string): PackageEntry[] =>
  Object.entries(manifestOf(folder).exports ?? {}).flatMap(([subpath, target]) =>
    typeof target === 'string'
      ? []
      : [{ subpath, module: target.import.default.replace(/^\.\/dist\/(.*)\.js$/, '$1') }],
  )

/** The source of every entry of the workspace below `root`, by the name that users import. */
export const workspaceEntries = (root: string): Map<string, string> =>
  new Map(
    readdirSync(join(root, 'packages'))
      .map((name) => join(root, 'packages', name))
      .filter((folder) => existsSync(join(folder, 'package.json')))
      .flatMap((folder) =>
        entriesOf(folder).map(({ subpath, module }) => [
          manifestOf(folder).name + subpath.slice(1),
          join(folder, 'src', `${module}.ts`),
        ]),
      ),
  )
