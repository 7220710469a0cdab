// `npm run packages`: packs every package, lints the tarballs, and tries them in empty projects: scripts/packages/
// says which. `npm test` does a sample of it, unless nothing that is packed has changed.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { transformSync } from 'esbuild'
import { hasRegistry, Projects } from './packages/install.mjs'
import { lint } from './packages/lint.mjs'
import { pack } from './packages/pack.mjs'
import { PROJECTS } from './packages/projects.mjs'
import { commandOf, nameOf } from './packages/runtimes.mjs'
import { setup } from './setup.mjs'
import { filesBelow, hashOf, isCurrent, remember } from './stamps.mjs'
import { at, Failure, fail, mustRun, nodeTool } from './toolchain.mjs'
import { buildOrder } from './workspace.mjs'

const HELP = `usage: npm run packages -- [options] [word...]
  word        only the projects whose names contain one of the words
  --sample    only the projects that \`npm test\` tries, and nothing if no package has changed since they passed
  --pack DIR  only pack: tarballs that can be installed, into this directory
  --list      name the projects, run nothing
`

function parse(argv) {
  const options = { words: [], sample: false, list: false, pack: undefined }
  const words = [...argv]
  while (words.length > 0) {
    const word = words.shift()
    if (word === '--sample' || word === '--list') options[word.slice(2)] = true
    else if (word === '--pack' && words.length > 0) options.pack = resolve(words.shift())
    else if (word.startsWith('-')) throw new Failure(HELP.trimEnd())
    else options.words.push(word)
  }
  return options
}

/** What a row of the table may do in its project. */
function toolsOf(folder, packed) {
  const exec = async (key, file, ...words) => {
    const [command, ...args] = await commandOf(key)
    return mustRun(`${nameOf(key)}: ${file}`, command, [...args, file, ...words], { cwd: folder })
  }
  const write = (name, text) => {
    const path = join(folder, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  return {
    folder,
    packed,
    /** Writes a file of the project. */
    write,
    /** Copies a program of ours, as CommonJS if it is called .cjs. */
    program(source, name = source) {
      const text = readFileSync(at('scripts', 'packages', 'programs', source), 'utf8')
      write(name, name.endsWith('.cjs') ? transformSync(text, { format: 'cjs' }).code : text)
    },
    /** Runs a file in a runtime. @returns what it prints */
    exec,
    node: (file) => exec('this', file),
    /** Runs a program that a package has. */
    bin: (name, ...args) =>
      mustRun(name, join(folder, 'node_modules', '.bin', name), args, {
        cwd: folder,
        shell: process.platform === 'win32',
      }),
    /** Compiles the project, by the compiler that is installed there or by the repository's. */
    tsc(own) {
      const [node, ours] = nodeTool('typescript/bin/tsc')
      return own
        ? mustRun('tsc', join(folder, 'node_modules', '.bin', 'tsc'), [], { cwd: folder })
        : mustRun('tsc', node, [ours], { cwd: folder })
    },
  }
}

/** Tries one project. @returns a row of the table: its name, `ran`, `failed` or `skipped`, and what it said */
async function attempt(project, projects, packed, online) {
  const { name, runtime, packages, others, client, missing } = project
  const row = (outcome, said = '') => ({
    name: runtime ? `${name}: ${nameOf(runtime)}` : name,
    outcome,
    said,
  })
  const lacking = missing?.()
  if (lacking) return row('skipped', lacking)
  if (!online && !project.sample) return row('skipped', 'the npm registry does not answer')
  try {
    const folder = await projects.with(packages, others, client)
    return row('ran', await project.run(toolsOf(folder, packed)))
  } catch (error) {
    return row('failed', error instanceof Failure ? error.message : error.stack)
  }
}

function tell(rows) {
  const line = (cells) => console.log(`| ${cells.join(' | ')} |`)
  line(['project', 'outcome', ''])
  line(['---', '---', '---'])
  for (const { name, outcome, said } of rows)
    line([name, outcome, outcome === 'failed' ? 'see below' : (said ?? '')])
}

async function tryAll(chosen, packed) {
  const online = chosen.every(({ sample }) => sample) || (await hasRegistry())
  const projects = new Projects(packed)
  const rows = []
  try {
    for (const project of chosen) {
      const row = await attempt(project, projects, packed, online)
      console.log(`${{ ran: ' ok ', failed: 'FAIL', skipped: 'skip' }[row.outcome]}  ${row.name}`)
      rows.push(row)
    }
  } finally {
    projects.remove()
  }
  console.log()
  tell(rows)
  const failed = rows.filter(({ outcome }) => outcome === 'failed')
  if (failed.length > 0) throw new Failure(failed.map(({ name, said }) => `\n${name}:\n${said}`).join('\n'))
}

async function main(argv) {
  const options = parse(argv)
  const { words } = options
  const chosen = PROJECTS.filter(({ sample }) => sample || !options.sample).filter(
    ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
  )
  if (chosen.length === 0) throw new Failure(`no project is called ${words.join(' or ')}`)
  if (options.list) return void console.log(chosen.map(({ name }) => name).join('\n'))
  await setup({ types: true })
  const packages = buildOrder()
  if (options.pack) {
    const packed = await pack(packages, options.pack)
    return void console.log(packed.map(({ tarball }) => tarball).join('\n'))
  }
  const inputs = [
    ...packages.flatMap(({ path }) => [
      `${path}/package.json`,
      `${path}/README.md`,
      ...filesBelow(`${path}/dist`),
    ]),
    ...filesBelow(at('scripts', 'packages')),
    ...['LICENSE', 'scripts/check-packages.mjs'].map((name) => at(name)),
  ]
  const hash = hashOf(inputs, process.version)
  if (options.sample && isCurrent('packed', hash)) return
  const directory = at('.cache', 'packed')
  rmSync(directory, { recursive: true, force: true })
  const packed = await pack(packages, directory)
  const problems = (await Promise.all(packed.map(lint))).flat()
  if (problems.length > 0) throw new Failure(problems.join('\n'))
  console.log(` ok   ${packed.map(({ tarball }) => basename(tarball)).join(', ')}`)
  await tryAll(chosen, packed)
  if (words.length === 0) remember('packed', hash)
}

await main(process.argv.slice(2)).catch(fail)
