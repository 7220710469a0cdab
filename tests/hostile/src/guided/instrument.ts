/**
 * The library in one file, with a counter in each of its branches. The TypeScript compiler inserts the
 * counters: with them a run takes little longer than without, whereas reading V8's own coverage takes as long
 * as a run.
 * @module
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))
/** Files whose branches are counted. */
const COUNTED = /packages\/(block-core|qcow2|qed|raw)\/src\/.*\.ts$/
const NOT_COUNTED = /\/src\/(testing|node)\//

/** A module with counted branches. */
export interface Instrumented<T> {
  readonly module: T
  /** Number of times each branch ran; reset to 0 by the reader. */
  readonly counters: Uint32Array
  /** The location of each branch: `packages/qcow2/src/requests/read.ts:45`. */
  readonly branches: readonly string[]
  /** Whole numbers above 255 in the code, in order. */
  readonly numbers: readonly bigint[]
}

/** Changes the source of a file before it is bundled, to plant a fault; returns other files unchanged. */
export type Change = (path: string, source: string) => string

/**
 * Bundles a module with the packages that it imports, and imports the bundle.
 *
 * @param entry path of a module of this folder
 */
export async function instrument<T>(
  entry: string,
  change: Change = (_, source) => source,
): Promise<Instrumented<T>> {
  const branches: string[] = []
  const numbers = new Set<bigint>()
  const plugin: Plugin = {
    name: 'count branches',
    setup(builder) {
      builder.onLoad({ filter: COUNTED }, ({ path }) => {
        if (NOT_COUNTED.test(path)) return undefined
        const below = path.slice(ROOT.length)
        const source = change(below, readFileSync(path, 'utf8'))
        const contents = countBranches(source, (line) => branches.push(`${below}:${line}`) - 1, numbers)
        return { contents, loader: 'js' }
      })
    },
  }
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
  try {
    const outfile = join(directory, 'bundle.mjs')
    await build({
      entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
      absWorkingDir: ROOT,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      tsconfig: join(ROOT, 'tsconfig.json'),
      plugins: [plugin],
      banner: { js: 'export const branchCounters = new Uint32Array(65536)' },
      outfile,
    })
    const module = (await import(/* @vite-ignore */ pathToFileURL(outfile).href)) as T & {
      readonly branchCounters: Uint32Array
    }
    return {
      module,
      counters: module.branchCounters.subarray(0, branches.length),
      branches,
      numbers: [...numbers].sort((a, b) => (a < b ? -1 : 1)),
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const LOGICAL: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.AmpersandAmpersandEqualsToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.BarBarEqualsToken,
  ts.SyntaxKind.QuestionQuestionToken,
  ts.SyntaxKind.QuestionQuestionEqualsToken,
])

/** The parts of a node that run only sometimes, and are not blocks, which count by themselves. */
function armsOf(node: ts.Node): readonly (ts.Node | undefined)[] {
  if (ts.isIfStatement(node)) return [node.thenStatement, node.elseStatement]
  if (ts.isIterationStatement(node, false)) return [node.statement]
  if (ts.isConditionalExpression(node)) return [node.whenTrue, node.whenFalse]
  if (ts.isBinaryExpression(node) && LOGICAL.has(node.operatorToken.kind)) return [node.right]
  if (ts.isArrowFunction(node)) return [node.body]
  return []
}

function countBranches(source: string, indexOf: (line: number) => number, numbers: Set<bigint>): string {
  const transform: ts.TransformerFactory<ts.SourceFile> = (context) => {
    const { factory } = context
    const counter = (at: ts.Node): ts.Expression => {
      const line = source.slice(0, at.pos).trimEnd().split('\n').length
      const counters = factory.createIdentifier('branchCounters')
      return factory.createPostfixIncrement(factory.createElementAccessExpression(counters, indexOf(line)))
    }
    const count = (at: ts.Node): ts.Statement => factory.createExpressionStatement(counter(at))
    const counted = (original: ts.Node): ts.Node => {
      const arm = visit(original)
      if (ts.isBlock(arm)) return arm
      if (!ts.isExpression(arm)) return factory.createBlock([count(original), arm as ts.Statement])
      return factory.createParenthesizedExpression(factory.createComma(counter(original), arm))
    }
    const visit = (original: ts.Node): ts.Node => {
      if (ts.isTypeNode(original)) return original
      if (ts.isNumericLiteral(original) || ts.isBigIntLiteral(original)) learn(original.text, numbers)
      const arms = armsOf(original)
      const node = ts.visitEachChild(
        original,
        (child) => (arms.includes(child) ? counted(child) : visit(child)),
        context,
      )
      if (ts.isBlock(node)) return factory.updateBlock(node, [count(original), ...node.statements])
      if (ts.isCaseClause(node))
        return factory.updateCaseClause(node, node.expression, [count(original), ...node.statements])
      if (ts.isIfStatement(node) && !node.elseStatement)
        return factory.updateIfStatement(node, node.expression, node.thenStatement, count(original))
      return node
    }
    return (file) => ts.visitEachChild(file, visit, context)
  }
  return ts.transpileModule(source, {
    transformers: { before: [transform] },
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  }).outputText
}

function learn(literal: string, numbers: Set<bigint>): void {
  const text = literal.replace(/n$/, '')
  if (!/^\d+$|^0x/i.test(text)) return
  const value = BigInt(text)
  if (value > 255n && value < 2n ** 64n) numbers.add(value)
}
