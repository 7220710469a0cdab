// Packs the packages of the workspace, as they are published.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { filesBelow } from '../stamps.mjs'
import { Failure, pnpm } from '../toolchain.mjs'

/** @returns `{ manifest, tarball }` of each, where the manifest is that of the repository */
export async function pack(packages, directory) {
  mkdirSync(directory, { recursive: true })
  const filters = packages.flatMap(({ manifest }) => ['--filter', manifest.name])
  await pnpm('packing', [...filters, '-r', 'pack', '--pack-destination', directory])
  const tarballs = filesBelow(directory)
  return packages.map(({ manifest }) => {
    const file = join(directory, tarballName(manifest))
    if (!tarballs.includes(file)) throw new Failure(`pnpm pack made no ${file}`)
    return { manifest, tarball: file }
  })
}

const tarballName = ({ name, version }) => `${name.replace('@', '').replace('/', '-')}-${version}.tgz`
