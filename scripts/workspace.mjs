// The packages of the workspace, ordered so that each comes after its dependencies.
import { existsSync, readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { at, readJson } from './toolchain.mjs'

/** All folders with a package.json: `{ folder, path, manifest }`. */
function allPackages() {
  const found = []
  const groups = ['packages', 'tests', 'examples'].filter((group) => existsSync(at(group)))
  const folders = groups.flatMap((group) =>
    readdirSync(at(group))
      .sort()
      .map((name) => at(group, name)),
  )
  for (const path of [...folders, at('bench')]) {
    if (!existsSync(`${path}/package.json`)) continue
    found.push({ folder: basename(path), path, manifest: readJson(`${path}/package.json`) })
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

/** Packages that are built, each with its dependencies in the workspace, dependencies first. */
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
