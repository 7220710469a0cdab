/** What the packages publish, as the TypeScript compiler sees it: the exports of every entry, and the files that import them. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { workspaceEntries } from '../../../scripts/package-entries.mjs'

/** The repository. */
export const root = fileURLToPath(new URL('../../..', import.meta.url))

/** A symbol that an entry exports. */
export interface Export {
  /** The name that users import the entry by: `@vmblock/block-core/driver`. */
  readonly entry: string
  readonly name: string
  /** Whether it exists at run time: it is no type. */
  readonly isValue: boolean
  /** Where it is declared; more than once if it is a type and a value. */
  readonly declarations: readonly ts.Declaration[]
}

/** Entries for tests: only tests import them, and they are no part of what is documented. */
export const isTesting = (entry: string): boolean => entry.endsWith('/testing')

/** The exports of all entries, from the sources. Nothing is type-checked, and no library is read: that takes seconds. */
export function publicExports(): readonly Export[] {
  const entries = [...workspaceEntries(root)]
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const program = ts.createProgram(
    entries.map(([, source]) => source),
    { ...options, noLib: true, types: [] },
  )
  const checker = program.getTypeChecker()
  return entries.flatMap(([entry, source]) => {
    const file = program.getSourceFile(source)
    const module = file && checker.getSymbolAtLocation(file)
    if (!module) return []
    return checker.getExportsOfModule(module).map((symbol): Export => {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
      return {
        entry,
        name: symbol.name,
        isValue: (target.flags & ts.SymbolFlags.Value) !== 0 && !isTypeOnly(symbol),
        declarations: target.declarations ?? [],
      }
    })
  })
}

/** Whether an entry exports a class or the like by `export type`. */
const isTypeOnly = ({ declarations = [] }: ts.Symbol): boolean =>
  declarations.some(
    (node) => ts.isExportSpecifier(node) && (node.isTypeOnly || node.parent.parent.isTypeOnly),
  )

/** The files below a folder of the repository whose paths match, without what is installed or built. */
export function filesOf(folder: string, wanted: RegExp): readonly string[] {
  const path = join(root, folder)
  if (!existsSync(path)) return []
  return readdirSync(path).flatMap((name) => {
    if (/^(node_modules|dist|\..*)$/.test(name)) return []
    const below = join(folder, name)
    if (statSync(join(root, below)).isDirectory()) return filesOf(below, wanted)
    return wanted.test(below) ? [below.replaceAll('\\', '/')] : []
  })
}

/** Code that is there for tests: tests, and the folders `testing` that packages publish for tests of others. */
export const isTestCode = (path: string): boolean =>
  /^tests\/|\.test\.ts$|\/(testing|tests)\//.test(path.replaceAll('\\', '/'))

/** By `entry name` the files outside its package that import the name from the entry. */
export function importersOf(files: readonly string[]): ReadonlyMap<string, ReadonlySet<string>> {
  const entries = workspaceEntries(root)
  const importers = new Map<string, Set<string>>()
  const add = (entry: string, name: string, path: string): void => {
    const key = `${entry} ${name}`
    const known = importers.get(key) ?? new Set()
    importers.set(key, known.add(path))
  }
  for (const path of files) {
    const file = ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest)
    for (const statement of file.statements) {
      if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) continue
      const { moduleSpecifier } = statement
      if (!moduleSpecifier || !ts.isStringLiteral(moduleSpecifier) || !entries.has(moduleSpecifier.text))
        continue
      const bindings = ts.isImportDeclaration(statement)
        ? statement.importClause?.namedBindings
        : statement.exportClause
      if (bindings && !ts.isNamespaceImport(bindings) && !ts.isNamespaceExport(bindings))
        for (const { name, propertyName } of bindings.elements)
          add(moduleSpecifier.text, (propertyName ?? name).text, path)
    }
  }
  return importers
}

/** Where a declaration stands, for messages. */
export function placeOf(declaration: ts.Declaration): string {
  const file = declaration.getSourceFile()
  const { line } = file.getLineAndCharacterOfPosition(declaration.getStart())
  return `${relative(root, file.fileName).replaceAll('\\', '/')}:${line + 1}`
}
