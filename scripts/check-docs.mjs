// Checks that every exported symbol has a doc comment, and that every file of a package starts with one that
// says its idea.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { filesBelow } from './stamps.mjs'
import { at } from './toolchain.mjs'

/** The names that a statement exports, for messages; undefined when it exports nothing of its own. */
function exportedName(statement) {
  const modifiers = ts.canHaveModifiers(statement) ? ts.getModifiers(statement) : undefined
  if (!modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return undefined
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.map(({ name }) => name.getText()).join(', ')
  }
  return statement.name?.getText() ?? 'export'
}

/** The violations in one source text, one line each. */
export function undocumented(path, text) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const lines = []
  if (!/^(#!.*\n)?\s*\/[*/]/.test(text))
    lines.push(`${path}:1 does not start with a comment that says its idea`)
  const documented = new Set()
  for (const statement of source.statements) {
    const name = exportedName(statement)
    if (name === undefined) continue
    // The comment of the first overload covers all of them.
    if (ts.getJSDocCommentsAndTags(statement).length > 0) documented.add(name)
    if (documented.has(name)) continue
    const { line } = source.getLineAndCharacterOfPosition(statement.getStart())
    lines.push(`${path}:${line + 1} '${name}' is exported without a doc comment`)
  }
  return lines
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const files = [...filesBelow(at('packages')), ...filesBelow(at('bench', 'src'))].filter(
    (file) =>
      /[\\/]src[\\/].*\.ts$/.test(file) && !/\.(test|bench)\.ts$|[\\/](node_modules|dist)[\\/]/.test(file),
  )
  const lines = files.flatMap((file) => undocumented(file.slice(at().length + 1), readFileSync(file, 'utf8')))
  for (const line of lines) console.log(line)
  if (lines.length > 0) process.exitCode = 1
}
