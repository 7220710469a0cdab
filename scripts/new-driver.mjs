// `npm run new-driver NAME`: makes packages/NAME, a package of the driver that docs/writing-a-driver.md shows, under that
// name, whose tests pass. A name that is refused, or a step that fails, leaves nothing.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { filesBelow } from './stamps.mjs'
import { at, Failure, fail, mustRun, nodeTool, pnpm, readJson, say } from './toolchain.mjs'

const HELP = `usage: npm run new-driver NAME
  NAME          of the driver, as QEMU calls it or would: small letters and digits, a letter first
  --no-install  do not link the package with the others
`

/** The name of the driver in the guide. */
const SAMPLE = 'tiny'
/** The package whose manifest and build are like those of every format. */
const SIBLING = 'raw'
/** The files of the package that the guide shows, in its order. */
const SHOWN = ['src/driver.ts', 'src/contract.test.ts', 'src/testing/crash.ts', 'src/testing/index.ts']

/** The code that the guide shows, by file. */
function guideFiles() {
  const guide = readFileSync(at('docs', 'writing-a-driver.md'), 'utf8')
  const blocks = [...guide.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code)
  if (blocks.length !== SHOWN.length) throw new Error(`the guide shows ${blocks.length} files`)
  return Object.fromEntries(SHOWN.map((path, index) => [path, blocks[index]]))
}

/** Where files of the repository are shown: a README is read at the registry, too. */
const WEB = `${readJson(at('package.json')).homepage.replace('#readme', '')}/blob/main`

/** The files that the guide does not show: each says nothing but where the others are. */
const PLAIN = {
  'src/index.ts': `/**
 * The ${SAMPLE} format for @vmblock/block-core.
 * @module
 */
export { ${SAMPLE} } from './driver.ts'
`,
  'src/crash.test.ts': `/** Images in the ${SAMPLE} format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('${SAMPLE}', workloads, process.env)
`,
  'README.md': `# @vmblock/${SAMPLE}

The ${SAMPLE} image format for [@vmblock/block-core](../block-core).

    npm install @vmblock/block-core @vmblock/${SAMPLE}

\`\`\`ts
const registry = new DriverRegistry([${SAMPLE}, memory])
\`\`\`

What the code does, and why in this order: [writing a driver](${WEB}/docs/writing-a-driver.md).
\`npm run check\` runs its tests.

Runs in Node.js 20.19 or later, Bun, Deno, pages and workers ([where what works](${WEB}/docs/platforms.md)).

MIT license.
`,
}

/** A package.json like those of the other formats. */
function manifestOf(name) {
  const { dependencies: _, ...manifest } = readJson(at('packages', SIBLING, 'package.json'))
  const directory = `packages/${name}`
  return {
    ...manifest,
    name: `@vmblock/${name}`,
    description: `Disk images in the ${name} format for @vmblock/block-core`,
    keywords: ['qemu', name, 'disk-image', 'virtual-disk', 'block-device', 'browser'],
    homepage: manifest.homepage.replace(`packages/${SIBLING}`, directory),
    repository: { ...manifest.repository, directory },
    dependencies: { '@vmblock/block-core': 'workspace:^' },
  }
}

/** Four bytes for the header: the name's first letters. */
const magicOf = (name) => `0x${Buffer.from(name.toUpperCase().padEnd(4).slice(0, 4)).toString('hex')}`

/** Every file of the package of a driver, by its path there. */
export function driverFiles(name) {
  const sources = Object.entries({ ...guideFiles(), ...PLAIN }).map(([path, text]) => [
    path,
    text.replaceAll(SAMPLE, name).replace(magicOf(SAMPLE), magicOf(name)),
  ])
  return {
    'package.json': `${JSON.stringify(manifestOf(name), null, 2)}\n`,
    'tsup.config.ts': readFileSync(at('packages', SIBLING, 'tsup.config.ts'), 'utf8'),
    ...Object.fromEntries(sources),
  }
}

/** @throws Failure for a name that cannot be, or that means something already */
export function requireName(name) {
  if (!/^[a-z][a-z0-9]{1,30}$/.test(name))
    throw new Failure(`'${name}' is no name for a driver: small letters and digits, a letter first`)
  if (existsSync(at('packages', name))) throw new Failure(`packages/${name} exists already`)
  const taken = new RegExp(`name: '${name}',\\s*kind: '`)
  for (const folder of readdirSync(at('packages')))
    for (const file of filesBelow(at('packages', folder, 'src')))
      if (file.endsWith('.ts') && !file.endsWith('.test.ts') && taken.test(readFileSync(file, 'utf8')))
        throw new Failure(`'${name}' is the name of a driver in packages/${folder}`)
  const code = Object.values(guideFiles()).join('\n')
  if (isReserved(name) || (name !== SAMPLE && new RegExp(`\\b${name}\\b`).test(code)))
    throw new Failure(`'${name}' means something else in the code of a driver`)
}

function isReserved(name) {
  try {
    new Function(`'use strict'; const ${name} = 1`)
    return false
  } catch {
    return true
  }
}

/** Makes the package, whole or not at all. @returns its path in the repository */
async function make(name) {
  const folder = at('packages', name)
  try {
    for (const [path, text] of Object.entries(driverFiles(name))) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text)
    }
    // Names are of different lengths, and lines break accordingly.
    const [node, biome] = nodeTool('@biomejs/biome/bin/biome')
    await mustRun('formatting', node, [biome, 'check', '--write', folder])
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return `packages/${name}`
}

async function main(argv) {
  const words = argv.filter((word) => word !== '--no-install')
  if (words.length !== 1 || words[0] === '--help') throw new Failure(HELP.trimEnd())
  const [name] = words
  requireName(name)
  const made = await make(name)
  say(`made ${made}; its tests: npx vitest run --project unit ${made}`)
  say('when it is ready: a line in packages/formats/src/index.ts, and one in the package.json beside it')
  if (argv.length === words.length)
    await pnpm(`linking ${made} with the other packages`, [
      'install',
      '--no-frozen-lockfile',
      '--prefer-offline',
    ])
}

if (process.argv[1]?.endsWith('new-driver.mjs')) await main(process.argv.slice(2)).catch(fail)
