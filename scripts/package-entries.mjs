// The entries of the packages. Their only list is `exports` of each package.json, where `dist/x.js` stands for what is
// built of `src/x.ts`: builds, tests and scripts read it here. TypeScript finds the sources by patterns of tsconfig.json.
// What runs in Node.js alone is published as `node`, and lies in `node-js`, since a node is something else in the sources.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const manifestOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

export const entriesOf = (folder) =>
  Object.entries(manifestOf(folder).exports ?? {}).flatMap(([subpath, target]) =>
    typeof target === 'string'
      ? []
      : [target.import.default.replace(/^\.\/dist\/(.*)\.js$/, '$1')].map((module) => ({
          subpath,
          module,
          source: `src/${module.replace(/^node\b/, 'node-js')}.ts`,
        })),
  )

export const workspaceEntries = (root) =>
  new Map(
    readdirSync(join(root, 'packages'))
      .map((name) => join(root, 'packages', name))
      .filter((folder) => existsSync(join(folder, 'package.json')))
      .flatMap((folder) =>
        entriesOf(folder).map(({ subpath, source }) => [
          manifestOf(folder).name + subpath.slice(1),
          join(folder, source),
        ]),
      ),
  )
