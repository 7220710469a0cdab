// The entries of the packages. Their only list is `exports` of each package.json, where `dist/x.js` stands for what is
// built of `src/x.ts`: builds, tests and scripts read it here. TypeScript finds the sources by patterns of tsconfig.json.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const manifestOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

export const entriesOf = (folder) =>
  Object.entries(manifestOf(folder).exports ?? {}).flatMap(([subpath, target]) =>
    typeof target === 'string'
      ? []
      : [{ subpath, module: target.import.default.replace(/^\.\/dist\/(.*)\.js$/, '$1') }],
  )

export const workspaceEntries = (root) =>
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
