// The packages of the workspace, in an order in which each comes after those it depends on.
import { existsSync, readdirSync } from 'node:fs'
import { at, readJson } from './toolchain.mjs'

/** All folders with a package.json: `{ folder, path, manifest }`. */
function allPackages() {
  const found = []
  for (const group of ['packages', 'tests']) {
    if (!existsSync(at(group))) continue
    for (const folder of readdirSync(at(group)).sort()) {
      const path = at(group, folder)
      if (existsSync(`${path}/package.json`))
        found.push({ folder, path, manifest: readJson(`${path}/package.json`) })
    }
  }
  return found
}

/** The manifests that decide what is installed. */
export const manifestFiles = () => [
  at('package.json'),
  at('pnpm-workspace.yaml'),
  at('pnpm-lock.yaml'),
  ...allPackages().map(({ path }) => `${path}/package.json`),
]

/** Packages that are built, each with the packages of the workspace it depends on, dependencies first. */
export function buildOrder() {
  const built = allPackages().filter(({ path }) => existsSync(`${path}/tsup.config.ts`))
  const byName = new Map(built.map((item) => [item.manifest.name, item]))
  const ordered = new Set()
  const visit = (item) => {
    if (ordered.has(item)) return
    const { dependencies = {}, devDependencies = {} } = item.manifest
    item.needs = Object.keys({ ...dependencies, ...devDependencies }).flatMap(
      (name) => byName.get(name) ?? [],
    )
    for (const needed of item.needs) visit(needed)
    ordered.add(item)
  }
  for (const item of built) visit(item)
  return [...ordered]
}
