/** The packages of the workspace that are published. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The repository, with a slash at the end. */
export const root: string = fileURLToPath(new URL('../../../', import.meta.url))

/** What the tests read of a package.json. */
export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly description?: string
  readonly keywords?: readonly string[]
  readonly homepage?: string
  readonly bugs?: string
  readonly license?: string
  readonly repository?: { readonly type: string; readonly url: string; readonly directory?: string }
  readonly engines?: Readonly<Record<string, string>>
  readonly publishConfig?: Readonly<Record<string, string>>
  readonly scripts?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** The package.json of a folder of the repository; '' is the root. */
export const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(`${root}${folder}/package.json`, 'utf8')) as Manifest

/** The packages that are published, by their folders below `packages`. */
export const publicPackages = (): { readonly folder: string; readonly manifest: Manifest }[] =>
  readdirSync(`${root}packages`)
    .filter((folder) => existsSync(`${root}packages/${folder}/package.json`))
    .map((folder) => ({ folder, manifest: manifestOf(`packages/${folder}`) }))
    .filter(({ manifest }) => manifest.private !== true)
