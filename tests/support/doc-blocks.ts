/** The code blocks of the documentation: fenced and indented ones, and which examples they make. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The root of the repository, with a slash at its end. */
export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url))

/** A block of code on a page. */
export interface Block {
  /** The path of its page in the repository: `docs/streams.md`. */
  readonly page: string
  /** The line of its first line of code, counted from 1. */
  readonly line: number
  /** The language of a fence (`ts`), '' without one; undefined: an indented block. */
  readonly language: string | undefined
  /** What follows the language, which readers do not see: how the block is run. */
  readonly how: string
  readonly code: string
}

/** All pages with documentation: those of docs/, README.md, and those of packages. */
export function pages(): readonly string[] {
  const inFolder = (folder: string): readonly string[] =>
    readdirSync(`${ROOT}${folder}`, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
      .map((entry) => `${entry.parentPath}/${entry.name}`.slice(ROOT.length))
      .filter((path) => !/(^|\/)(node_modules|dist|api)\//.test(path))
  const ofPackages = readdirSync(`${ROOT}packages`)
    .map((name) => `packages/${name}`)
    .flatMap((folder) => readdirSync(`${ROOT}${folder}`).map((name) => `${folder}/${name}`))
    .filter((path) => path.endsWith('/README.md'))
  return ['README.md', ...inFolder('docs'), ...ofPackages].map((path) => path.replaceAll('\\', '/')).sort()
}

/** The text of a page. */
export const textOf = (page: string): string => readFileSync(ROOT + page, 'utf8').replaceAll('\r\n', '\n')

/** The blocks of a page, in order. */
export function blocksOf(page: string, text = textOf(page)): readonly Block[] {
  const lines = text.split('\n')
  const blocks: Block[] = []
  for (let at = 0; at < lines.length; at++) {
    const fence = /^(\s*)(`{3,}|~{3,})\s*(\S*)\s*(.*)$/.exec(lines[at]!)
    if (fence) {
      const [, indent = '', mark = '', language = '', how = ''] = fence
      const start = at + 1
      do at++
      while (at < lines.length && !lines[at]!.trimStart().startsWith(mark))
      const code = lines.slice(start, at).map((line) => line.slice(Math.min(indent.length, line.length)))
      blocks.push({ page, line: start + 1, language, how: how.trim(), code: `${code.join('\n')}\n` })
    } else if (/^ {4,}\S/.test(lines[at]!) && (at === 0 || lines[at - 1]!.trim() === '')) {
      const start = at
      while (at < lines.length && (/^ {4}/.test(lines[at]!) || lines[at]!.trim() === '')) at++
      const code = lines.slice(start, at).map((line) => line.slice(4))
      blocks.push({
        page,
        line: start + 1,
        language: undefined,
        how: '',
        code: `${code.join('\n').trimEnd()}\n`,
      })
      at--
    }
  }
  return blocks
}

/** Whether a block is TypeScript or JavaScript. */
export const isScript = ({ language }: Block): boolean =>
  /^(ts|tsx|typescript|js|mjs|cjs|jsx|javascript)$/.test(language ?? '')

/** Where an example runs; `compiled`: nowhere, since what it needs is not part of this repository. */
export type Where = 'node' | 'page' | 'compiled'

/**
 * An example: a block that imports something, and the blocks below it that import nothing and so go on with what it has.
 */
export interface Example {
  readonly page: string
  /** Its number on the page, from 0. */
  readonly index: number
  readonly where: Where
  readonly blocks: readonly Block[]
  /** What each block prints, where a block of `text` stands right below it. */
  readonly output: ReadonlyMap<Block, string>
}

const PLACES: Readonly<Record<string, Where>> = { '': 'node', page: 'page', compiled: 'compiled' }

/** The examples of a page. @throws Error for a block that no rule covers */
export function examplesOf(page: string, blocks = blocksOf(page)): readonly Example[] {
  const examples: { where: Where; blocks: Block[]; output: Map<Block, string> }[] = []
  for (const [at, block] of blocks.entries()) {
    if (!isScript(block)) continue
    // What is of pages, and does not say that it runs in one, wants an emulator, or a server.
    const isOfPage = block.how === '' && /^import .*\/browser'$/m.test(block.code)
    const where = isOfPage ? 'compiled' : PLACES[block.how]
    if (where === undefined) throw new Error(`${page}:${block.line}: no rule covers '${block.how}'`)
    const begins = /^import\b/m.test(block.code)
    let example = examples.at(-1)
    if (begins || example?.where !== where) {
      example = { where, blocks: [], output: new Map() }
      examples.push(example)
    }
    example.blocks.push(block)
    const next = blocks[at + 1]
    if (next?.language === 'text') example.output.set(block, next.code)
  }
  const inPages = examples
    .filter(({ where }) => where === 'node')
    .flatMap(({ blocks, output }) => pageTwin(blocks, output))
  return [...examples, ...inPages].map((example, index) => ({ page, index, ...example }))
}

/** A line that says what stands there in a page: `const target = 'disk.qcow2' // in a page: { opfs: 'disk.qcow2' }`. */
const IN_A_PAGE = /^(const \w+ = ).* \/\/ in a page: (.*)$/m

/** The same example as it is in a page, if it says so. */
function pageTwin(
  blocks: readonly Block[],
  output: ReadonlyMap<Block, string>,
): Omit<Example, 'page' | 'index'>[] {
  if (!blocks.some(({ code }) => IN_A_PAGE.test(code))) return []
  const twins = blocks.map((block) => ({ ...block, code: block.code.replace(IN_A_PAGE, '$1$2') }))
  const outputs = blocks.flatMap((block, at) =>
    output.has(block) ? [[twins[at]!, output.get(block)!] as const] : [],
  )
  return [{ where: 'page', blocks: twins, output: new Map(outputs) }]
}

/** The file in tests/repo/src/pages that prepares a page: `docs/first-steps.md` has `first-steps.ts`. */
export const fixtureOf = (page: string): string =>
  `${ROOT}tests/repo/src/pages/${page
    .replace(/^docs\//, '')
    .replace(/\.md$/, '')
    .replaceAll('/', '-')
    .toLowerCase()}.ts`
