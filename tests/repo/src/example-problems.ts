/** What the compiler says of the examples of the documentation, at the lines of their pages. */
import { join } from 'node:path'
import ts from 'typescript'
import { type Example, fixtureOf, ROOT } from '../../support/doc-blocks.ts'
import { preludeOf } from '../../support/doc-examples.ts'

/** Where an example of a page is for the compiler: beside the fixture that lends it names. */
const pathOf = (example: Example): string =>
  fixtureOf(example.page).replace(/\.ts$/, `.example-${example.index}.ts`)

/** What a project for Node.js has, and what a page has; an example may make what only its reader goes on with. */
function settings(where: 'node' | 'page'): ts.CompilerOptions {
  const { config } = ts.readConfigFile(`${ROOT}tsconfig.json`, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT)
  const language = ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts']
  const page: ts.CompilerOptions = {
    lib: [...language, 'lib.dom.d.ts', 'lib.dom.asynciterable.d.ts'],
    paths: { ...options.paths, vmblock: ['./packages/vmblock/src/browser.ts'] },
  }
  return {
    ...options,
    lib: language,
    noUnusedLocals: false,
    noUnusedParameters: false,
    ...(where === 'page' && page),
  }
}
/** The examples with what is wrong with them: `docs/x.md:12: ...`, each a line. */
export const exampleProblems = (examples: readonly Example[]): readonly string[] =>
  (['node', 'page'] as const).flatMap((where) =>
    problems(
      examples.filter((example) => (example.where === 'page') === (where === 'page')),
      settings(where),
    ),
  )

function problems(examples: readonly Example[], options: ts.CompilerOptions): readonly string[] {
  const sources = new Map(
    examples.map((example) => {
      const prelude = preludeOf(example, `./${fixtureOf(example.page).split('/').at(-1)}`)
      const code = `${prelude} export {};\n${example.blocks.map((block) => block.code).join('')}`
      return [join(pathOf(example)).replaceAll('\\', '/'), { example, code }]
    }),
  )
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (file) => sources.has(file) || fileExists.call(host, file)
  host.readFile = (file) => sources.get(file)?.code ?? readFile.call(host, file)
  host.getSourceFile = (file, language, ...rest) => {
    const source = sources.get(file)
    return source === undefined
      ? getSourceFile.call(host, file, language, ...rest)
      : ts.createSourceFile(file, source.code, language)
  }
  const program = ts.createProgram([...sources.keys()], options, host)
  return [...sources].flatMap(([path, { example }]) => {
    const file = program.getSourceFile(path)!
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText, start = 0 }) => {
        const line = file.getLineAndCharacterOfPosition(start).line - 1
        return `${example.page}:${lineOnPage(example, line)}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
      },
    )
  })
}

/** @param line of the code of all blocks, from 0 */
function lineOnPage({ blocks }: Example, line: number): number {
  let left = line
  for (const block of blocks) {
    const lines = block.code.split('\n').length - 1
    if (left < lines) return block.line + left
    left -= lines
  }
  return blocks[0]!.line
}
