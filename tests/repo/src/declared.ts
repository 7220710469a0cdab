/**
 * What the declarations of a function let users give, and what they do not: from the types of an entry come arguments of
 * wrong types, misspelled options and arguments in the wrong order.
 */
import { join } from 'node:path'
import ts from 'typescript'
import { workspaceEntries } from '../../../scripts/package-entries.mjs'
import { root } from './public-api.ts'

/** Values that are tried everywhere, with how TypeScript calls each. */
const VALUES: readonly (readonly [type: string, value: unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ["'text'", 'text'],
  ['5', 5],
  ['5n', 5n],
  ['true', true],
  ['{ noSuchOption: 1 }', { noSuchOption: 1 }],
  ['number[]', [1, 2]],
  ['(() => never)', () => Promise.reject(new Error('called'))],
  ['Map<string, number>', new Map([['a', 1]])],
  ['symbol', Symbol('mark')],
]

/** One parameter, or one option of a parameter. */
export interface Declared {
  readonly name: string
  /** The values that its type does not allow. */
  readonly wrong: readonly unknown[]
  /** Whether its type allows another value. */
  allows(value: unknown): boolean
}

/** A function, a constructor or a method: `open`, `new Job`, `VirtualDisk.read`. */
export interface DeclaredFunction {
  readonly title: string
  readonly parameters: readonly (Declared & { readonly options: readonly Declared[] })[]
}

/** All functions, classes and their methods that an entry exports; of a class or interface in `classes` the methods too. */
export function functionsOf(entry: string, methodsOf: readonly string[]): readonly DeclaredFunction[] {
  const source = workspaceEntries(root).get(entry)!
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  // The values as types: each the type of a variable of a file beside the entry.
  const values = join(root, 'values.ts')
  const host = ts.createCompilerHost(options)
  const { fileExists, getSourceFile } = host
  const text = VALUES.map(([type], index) => `export declare const v${index}: ${type}`).join('\n')
  host.fileExists = (file) => file === values || fileExists.call(host, file)
  host.getSourceFile = (file, language, ...rest) =>
    file === values
      ? ts.createSourceFile(file, text, language)
      : getSourceFile.call(host, file, language, ...rest)
  const program = ts.createProgram([source, values], options, host)
  const checker = program.getTypeChecker()
  const exportsOf = (path: string): readonly ts.Symbol[] =>
    checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(path)!)!)
  const types = exportsOf(values).map((symbol) => checker.getTypeOfSymbol(symbol))
  const indexOf = (value: unknown): number => VALUES.findIndex(([, one]) => Object.is(one, value))

  const declared = (name: string, allowed: readonly ts.Type[]): Declared => ({
    name,
    wrong: VALUES.filter((_, i) => !allowed.some((type) => checker.isTypeAssignableTo(types[i]!, type))).map(
      ([, value]) => value,
    ),
    allows: (value) => {
      const index = indexOf(value)
      return index < 0 || allowed.some((type) => checker.isTypeAssignableTo(types[index]!, type))
    },
  })
  /** The options of a parameter: what its object types have. Nodes, functions and arrays are no options. */
  const optionsIn = (types: readonly ts.Type[]): readonly Declared[] => {
    const found = new Map<string, ts.Type[]>()
    for (const type of types.flatMap((type) => (type.isUnion() ? type.types : [type]))) {
      if (!(type.flags & ts.TypeFlags.Object) && !type.isIntersection()) continue
      if (type.getCallSignatures().length > 0 || checker.isArrayLikeType(type)) continue
      const properties = type.getProperties()
      if (properties.some((property) => property.flags & ts.SymbolFlags.Method)) continue
      for (const property of properties)
        found.set(property.name, [...(found.get(property.name) ?? []), checker.getTypeOfSymbol(property)])
    }
    return [...found].map(([name, allowed]) => declared(name, allowed))
  }
  const functionOf = (title: string, signatures: readonly ts.Signature[]): DeclaredFunction => {
    const longest = Math.max(...signatures.map(({ parameters }) => parameters.length))
    return {
      title,
      parameters: Array.from({ length: longest }, (_, index) => {
        const ways = signatures.flatMap(
          ({ parameters, minArgumentCount }: ts.Signature & { minArgumentCount?: number }) => {
            const parameter = parameters[index]
            if (!parameter) return []
            const type = checker.getTypeOfSymbol(parameter)
            const bound = checker.getBaseConstraintOfType(type) ?? type
            const isOptional = index >= (minArgumentCount ?? 0)
            return [
              { name: parameter.name, types: isOptional ? [bound, checker.getUndefinedType()] : [bound] },
            ]
          },
        )
        const allowed = ways.flatMap(({ types }) => types)
        return { ...declared(ways[0]!.name, allowed), options: optionsIn(allowed) }
      }),
    }
  }
  return exportsOf(source).flatMap((symbol) => {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    const isValue = (target.flags & ts.SymbolFlags.Value) !== 0
    const type = isValue ? checker.getTypeOfSymbol(target) : undefined
    const calls = type?.getCallSignatures() ?? []
    const makes = (type?.getConstructSignatures() ?? []).filter(
      ({ declaration }) =>
        !declaration || !ts.getJSDocTags(declaration).some(({ tagName }) => tagName.text === 'internal'),
    )
    const instance = methodsOf.includes(symbol.name) ? checker.getDeclaredTypeOfSymbol(target) : undefined
    const methods = (instance?.getProperties() ?? []).filter(
      ({ flags, name }) => flags & ts.SymbolFlags.Method && !name.startsWith('__'),
    )
    return [
      ...(calls.length > 0 ? [functionOf(symbol.name, calls)] : []),
      ...(makes.length > 0 ? [functionOf(`new ${symbol.name}`, makes)] : []),
      ...methods.map((method) =>
        functionOf(`${symbol.name}.${method.name}`, checker.getTypeOfSymbol(method).getCallSignatures()),
      ),
    ]
  })
}
