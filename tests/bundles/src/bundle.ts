/** Bundles an application for browsers: the files it starts with, and those it may load later. */
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { workspaceEntries } from '../../../scripts/package-entries.mjs'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

const forNode = workspaceEntries(ROOT)
/** Sources of entries that are others in pages: TypeScript knows those of Node.js. An alias covers what is below its name, too. */
export const FOR_PAGES = Object.fromEntries(
  [...workspaceEntries(ROOT, 'default')].filter(
    ([name, source]) =>
      forNode.get(name) !== source && ![...forNode.keys()].some((other) => other.startsWith(`${name}/`)),
  ),
)

/** Sizes in bytes, minified and compressed by gzip, each file by itself. */
export interface BundleSizes {
  /** All files that are loaded before the application runs. */
  readonly start: number
  /**
   * Files that are loaded on first use, by the name of their module: those of a format that is itself loaded late by the name of
   * the format, and what several parts of others share as `chunk`.
   */
  readonly later: Readonly<Record<string, number>>
}

/** How an application is bundled. */
export interface BundleOptions {
  /** Packages that are left out. */
  readonly outside?: readonly string[]
  /** The packages as they are published, instead of their sources. */
  readonly published?: boolean
}

/**
 * Bundles a module for browsers as applications do, every dependency included. Imports that only Node.js
 * resolves are errors.
 *
 * @param source text of a module that exports what the application uses
 */
export async function bundleSizes(
  source: string,
  { outside = [], published = false }: BundleOptions = {},
): Promise<BundleSizes> {
  const { outputFiles, metafile } = await build({
    // A package that depends on every format finds the published ones.
    stdin: { contents: source, sourcefile: 'start.ts', resolveDir: `${ROOT}packages/formats`, loader: 'ts' },
    absWorkingDir: ROOT,
    outdir: 'out',
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'none',
    logLevel: 'silent',
    ...(published ? { tsconfigRaw: {} } : { tsconfig: `${ROOT}tsconfig.json`, alias: FOR_PAGES }),
    external: [...outside],
  })
  const bytesOf = new Map(
    outputFiles.map(({ path, contents }) => [basename(path), gzipSync(contents, { level: 9 }).length]),
  )
  const outputs = new Map(Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output]))
  const start = new Set<string>()
  const load = (file: string): void => {
    if (start.has(file)) return
    start.add(file)
    for (const { kind, path, external } of outputs.get(file)!.imports)
      if (kind === 'import-statement' && !external) load(basename(path))
  }
  load('stdin.js')
  const startPackages = new Set([...start].flatMap((file) => packagesOf(outputs.get(file)!.inputs)))
  const later: Record<string, number> = {}
  for (const [file, bytes] of bytesOf) {
    if (start.has(file)) continue
    const part = lateFormatOf(outputs.get(file)!.inputs, startPackages) ?? file.replace(/-.*$/, '')
    later[part] = (later[part] ?? 0) + bytes
  }
  return { start: [...start].reduce((sum, file) => sum + bytesOf.get(file)!, 0), later }
}

/** The packages that source files are of. */
const packagesOf = (inputs: Readonly<Record<string, unknown>>): readonly string[] =>
  Object.keys(inputs).flatMap((path) => /^packages\/([^/]+)\//.exec(path)?.[1] ?? [])

/** The package of all these files, if none of its files is loaded at start. */
function lateFormatOf(
  inputs: Readonly<Record<string, unknown>>,
  startPackages: ReadonlySet<string>,
): string | undefined {
  const packages = new Set(packagesOf(inputs))
  const [only] = packages
  return packages.size === 1 && !startPackages.has(only!) ? only : undefined
}
