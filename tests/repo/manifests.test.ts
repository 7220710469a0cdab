/** Every package.json says what npm shows and search finds, brings nothing that is of no use, and can be packed. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { manifestOf, publicPackages, root } from './src/packages.ts'

const monorepo = manifestOf('')
const packages = publicPackages()
const REPOSITORY = 'https://github.com/vmblock/vmblock'

interface Lint {
  manifestProblems(manifest: object): readonly string[]
}

describe('a package.json', () => {
  it('is there for every package, and all have one version', () => {
    expect(packages.length).toBeGreaterThan(8)
    expect(monorepo.private).toBe(true)
    expect(packages.map(({ manifest }) => manifest.name)).not.toContain(monorepo.name)
    for (const { manifest } of packages)
      expect([manifest.name, manifest.version]).toEqual([manifest.name, monorepo.version])
  })

  it.each(packages)('of $manifest.name has what npm shows', ({ folder, manifest }) => {
    expect(manifest.repository).toEqual({
      type: 'git',
      url: `git+${REPOSITORY}.git`,
      directory: `packages/${folder}`,
    })
    expect(manifest.homepage).toBe(`${REPOSITORY}/tree/main/packages/${folder}#readme`)
    expect(manifest.bugs).toBe(`${REPOSITORY}/issues`)
    expect(manifest.license).toBe(monorepo.license)
    expect(manifest.engines).toEqual(monorepo.engines)
    expect(manifest.publishConfig).toEqual({ access: 'public' })
    expect(manifest.description?.length).toBeGreaterThan(20)
    expect(manifest.keywords?.length).toBeGreaterThan(4)
    expect(new Set(manifest.keywords).size).toBe(manifest.keywords?.length)
  })
})

describe('installing', () => {
  it.each(packages)('$manifest.name brings nothing that only some can use', ({ manifest }) => {
    // Native, and for Node.js alone: the programs bring it, applications ask for it.
    expect(manifest.dependencies).not.toHaveProperty('koffi')
    expect('koffi' in (manifest.optionalDependencies ?? {})).toBe(/^@vmblock\/qemu-/.test(manifest.name))
    // For pages alone: what is published has it inside.
    for (const kind of ['dependencies', 'optionalDependencies', 'peerDependencies'] as const)
      expect(manifest[kind] ?? {}).not.toHaveProperty('idb')
    for (const peer of Object.keys(manifest.peerDependencies ?? {}))
      expect([peer, manifest.peerDependenciesMeta?.[peer]?.optional]).toEqual([peer, true])
  })

  // An exact version would bring a second core, with a second BlockError, where one package is updated alone.
  it.each(packages)('$manifest.name takes patches of ours', ({ manifest }) => {
    const ours = Object.entries(manifest.dependencies ?? {}).filter(([name]) =>
      packages.some((other) => other.manifest.name === name),
    )
    for (const dependency of ours) expect(dependency).toEqual([dependency[0], 'workspace:^'])
  })
})

describe('the runtimes that the packages are tried with', async () => {
  const { RUNTIMES } = (await import(
    new URL('../../scripts/packages/runtimes.mjs', import.meta.url).href
  )) as { readonly RUNTIMES: Readonly<Record<string, { readonly name: string }>> }
  const versions = Object.values(RUNTIMES).map(({ name }) => name.split(' '))

  it('begin with the oldest Node.js that they promise', () => {
    const [[name, version] = []] = versions
    expect([name, `>=${version?.replace(/\.\d+$/, '')}`]).toEqual(['Node.js', monorepo.engines?.['node']])
  })

  it('are those that docs/platforms.md has columns for', () => {
    const [columns = ''] = /^\| \| Node.*$/m.exec(readFileSync(`${root}docs/platforms.md`, 'utf8')) ?? []
    for (const [name, version] of versions) {
      expect(columns).toContain(name)
      expect(columns).toContain(` ${version!.split('.', 2).join('.')} `)
    }
  })
})

describe('packing', async () => {
  const { manifestProblems } = (await import(
    new URL('../../scripts/packages/lint.mjs', import.meta.url).href
  )) as Lint

  it.each(packages)('$manifest.name asks the script that knows how', ({ manifest }) => {
    expect(manifest.scripts).toEqual({ prepack: 'node ../../scripts/packages/prepack.mjs' })
  })

  it('is refused to npm, with the command that does it', () => {
    const { status, stderr } = spawnSync(process.execPath, ['../../scripts/packages/prepack.mjs'], {
      cwd: `${root}packages/${packages[0]!.folder}`,
      encoding: 'utf8',
      env: { ...process.env, npm_config_user_agent: 'npm/11.0.0 node/v20.19.0 linux x64' },
    })
    expect(status).toBe(1)
    expect(stderr).toMatch(/^ {2}npx pnpm@\d+\.\d+\.\d+ pack$/m)
    expect(stderr).not.toMatch(/^ {4}at /m)
  })

  it('is wrong if the manifest in a tarball points into the workspace, or runs scripts of ours', () => {
    const manifest = {
      dependencies: { '@vmblock/block-core': 'workspace:^', nanoevents: '^9.1.0' },
      peerDependencies: { '@vmblock/raw': 'link:../raw' },
      scripts: { prepack: 'x', test: 'y' },
    }
    expect(manifestProblems(manifest)).toEqual([
      'dependencies says @vmblock/block-core: workspace:^',
      'peerDependencies says @vmblock/raw: link:../raw',
      'the script prepack is published',
    ])
    expect(manifestProblems({ dependencies: { '@vmblock/raw': '^0.2.0' } })).toEqual([])
  })
})
