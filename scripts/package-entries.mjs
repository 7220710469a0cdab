// The entries of the packages. Their only list is `exports` of each package.json, where `dist/x.js` stands for what is
// built of `src/x.ts`: builds, tests and scripts read it here. TypeScript finds the sources by patterns of tsconfig.json.
// What runs in Node.js alone is published as `node`, and lies in `node-js`, since a node is something else in the sources.
// An entry may be another module in Node.js than elsewhere: then its targets stand below the conditions `node` and
// `default`, in this order.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const manifestOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

/** The targets of an entry, each with the condition under which it is taken, if there is one. */
const targetsOf = (target) => {
  if (typeof target === 'string') return []
  return target.import ? [[undefined, target]] : Object.entries(target)
}

export const entriesOf = (folder) =>
  Object.entries(manifestOf(folder).exports ?? {}).flatMap(([subpath, entry]) =>
    targetsOf(entry).map(([condition, target]) => {
      const module = target.import.default.replace(/^\.\/dist\/(.*)\.js$/, '$1')
      return { subpath, condition, module, source: `src/${module.replace(/^node\b/, 'node-js')}.ts` }
    }),
  )

export const workspaceEntries = (root, condition = 'node') => {
  const entries = new Map()
  for (const name of readdirSync(join(root, 'packages'))) {
    const folder = join(root, 'packages', name)
    if (!existsSync(join(folder, 'package.json'))) continue
    for (const entry of entriesOf(folder)) {
      const imported = manifestOf(folder).name + entry.subpath.slice(1)
      const applies = [undefined, condition, 'default'].includes(entry.condition)
      if (applies && !entries.has(imported)) entries.set(imported, join(folder, entry.source))
    }
  }
  return entries
}
