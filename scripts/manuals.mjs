// Makes the manual pages of the programs, for man and for docs/, from the tables that the programs themselves read.
// `node scripts/manuals.mjs` writes them; a test compares them with the tables, and lets man set them.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { markdownPage } from './manuals/markdown.mjs'
import { roffPage } from './manuals/roff.mjs'
import { at } from './toolchain.mjs'

const ENTRY = `
export { sentence, shownArgument, spellingsOf } from './packages/cli/src/kit/help.ts'
export { PARAMETERS, programTable as imageTable } from './packages/qemu-img-ts/src/help.ts'
export { programTable as ioTable } from './packages/qemu-io-ts/src/program-options.ts'
export { COMMANDS } from './packages/qemu-io-ts/src/commands/index.ts'
export { programEnvironment } from './packages/cli/src/index.ts'
`

/** The tables, from the sources as they are. */
async function load() {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-manuals-'))
  try {
    const outfile = join(directory, 'tables.cjs')
    await build({
      absWorkingDir: at(),
      stdin: { contents: ENTRY, resolveDir: at(), loader: 'ts' },
      bundle: true,
      platform: 'node',
      format: 'cjs',
      outfile,
      logLevel: 'error',
      tsconfig: at('tsconfig.json'),
    })
    return createRequire(import.meta.url)(outfile)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Options as manuals show them: all spellings, the name of the value, what it does. */
const optionsOf = ({ spellingsOf, shownArgument }, kinds = {}) =>
  Object.entries(kinds).map(([key, kind]) => ({
    spellings: spellingsOf(key, kind),
    argument: shownArgument(kind),
    help: kind.help ?? '',
  }))

/** A command of the REPL: its lines that explain options, and the others. */
function replCommand({ name, alias, usage, operands, summary, details = [] }) {
  const options = []
  const lines = []
  for (const line of details) {
    const [, letter, help] = /^-(\w) +(.*)$/.exec(line) ?? []
    if (letter !== undefined) options.push({ spellings: [`-${letter}`], help })
    else if (line !== '') lines.push(line)
  }
  const words = usage ?? operands
  return { name, alias, synopsis: words === undefined ? name : `${name} ${words}`, summary, lines, options }
}

/** What a manual says of a program. */
function manualOf(tables, table, more) {
  const { sentence } = tables
  const {
    name,
    summary,
    details = [],
    options,
    operands,
    operandHelp = {},
    example,
    commands,
    formats,
  } = table
  return {
    name,
    summary,
    description: [sentence(summary), ...details],
    synopsis: `${name} [options] ${operands}`,
    options: optionsOf(tables, options),
    operands: Object.entries(operandHelp),
    example: `${name} ${example}`,
    commands: commands.map((command) => ({
      name: command.name,
      summary: sentence(command.summary),
      details: command.details ?? [],
      synopsis: `${name} ${command.name} [options]${command.operands === undefined ? '' : ` ${command.operands}`}`,
      operands: Object.entries(command.operandHelp ?? {}),
      options: optionsOf(tables, command.options),
      example: command.example === undefined ? undefined : `${name} ${command.example}`,
    })),
    formats,
    parameters: [],
    repl: [],
    ...more,
  }
}

/** All pages: their paths in the repository, and their texts. */
export async function manuals() {
  const tables = await load()
  const { registry } = tables.programEnvironment({ print() {}, readText: async () => '' })
  const image = manualOf(tables, await tables.imageTable({ registry }), { parameters: tables.PARAMETERS })
  const formats = [...registry].filter(({ kind }) => kind === 'format').map(({ name }) => name)
  const io = manualOf(tables, tables.ioTable(formats), { repl: tables.COMMANDS.map(replCommand) })
  return new Map(
    [image, io].flatMap((manual) => [
      [`packages/${manual.name}/man/${manual.name}.1`, roffPage(manual)],
      [`docs/${manual.name}.md`, markdownPage(manual)],
    ]),
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [path, text] of await manuals()) {
    if (safeRead(at(path)) === text) continue
    writeFileSync(at(path), text)
    console.log(`wrote ${path}`)
  }
}

/** The text of a file; undefined if there is none. */
function safeRead(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
