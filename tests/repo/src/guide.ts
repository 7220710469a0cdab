/** The examples of the guides in docs/: read, run and compiled, so that what they show is true. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { transformSync } from 'esbuild'
import ts from 'typescript'

const path = (name: string): string => fileURLToPath(new URL(`../../../${name}`, import.meta.url))

/** The examples of a guide (`docs/jobs.md`), in order, in blocks of that language. */
export const examplesOf = (guide: string, language = 'ts'): readonly string[] =>
  [
    ...readFileSync(path(guide), 'utf8').matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g')),
  ].map(([, code]) => code!)

/** Runs an example: its imports are given by name, its exports are the result. */
export function runExample(
  source: string,
  imports: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const { code } = transformSync(source, { loader: 'ts', format: 'cjs' })
  const module = { exports: {} }
  const run = new Function('module', 'require', code) as (
    at: typeof module,
    require: (name: string) => unknown,
  ) => void
  run(module, (name) => imports[name])
  return module.exports
}

/** What the compiler says of examples under the rules of the repository. @param files sources by the name of a file */
export function problemsOf(files: Readonly<Record<string, string>>): readonly string[] {
  const { config } = ts.readConfigFile(path('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, path('.'))
  const sources = new Map(Object.entries(files).map(([name, source]) => [path(name), source]))
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.directoryExists = () => true
  host.fileExists = (file) => sources.has(file) || fileExists.call(host, file)
  host.readFile = (file) => sources.get(file) ?? readFile.call(host, file)
  host.getSourceFile = (file, language, ...rest) => {
    const source = sources.get(file)
    return source === undefined
      ? getSourceFile.call(host, file, language, ...rest)
      : ts.createSourceFile(file, source, language)
  }
  const program = ts.createProgram([...sources.keys()], options, host)
  return [...sources.keys()]
    .flatMap((name) => program.getSemanticDiagnostics(program.getSourceFile(name)))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}
