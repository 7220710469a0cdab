/**
 * Which doc comments are missing on a declaration that users see. A symbol needs one. A number needs one, too, or one of
 * its interface that names a unit; and a function that takes offsets, sizes or lengths names their unit, and one that throws says what.
 */
import ts from 'typescript'

/** Parameters that count something, by names that do not say what. `bytes` does. */
const COUNTS = /^(?:offset|size|length|from|to|start|end|at)$|(?:Offset|Size|Length)$/

const UNIT =
  /\b(?:bytes?|sectors?|clusters?|bits?|blocks?|milliseconds|nanoseconds|seconds|lines?|characters|elements|entries|items)\b/i

/** Members whose names say all. */
const SELF_EVIDENT = /^(?:bytes|requests|milliseconds|seconds)$|(?:Bytes|Count|Ms|Ns)$/

const isNumeric = (type: ts.TypeNode | undefined): boolean =>
  type !== undefined &&
  (type.kind === ts.SyntaxKind.NumberKeyword ||
    type.kind === ts.SyntaxKind.BigIntKeyword ||
    (ts.isUnionTypeNode(type) && type.types.some(isNumeric)))

const commentOf = (node: ts.Node): string =>
  ts
    .getJSDocCommentsAndTags(node)
    .map((comment) => comment.getText())
    .join('\n')

/** The members that users see: neither private nor marked as internal. */
const isVisible = (member: ts.Node): boolean => {
  const modifiers = ts.canHaveModifiers(member) ? (ts.getModifiers(member) ?? []) : []
  const isHidden = modifiers.some(
    ({ kind }) => kind === ts.SyntaxKind.PrivateKeyword || kind === ts.SyntaxKind.ProtectedKeyword,
  )
  const { name } = member as ts.NamedDeclaration
  return !isHidden && !(name && ts.isPrivateIdentifier(name)) && !commentOf(member).includes('@internal')
}

/** A comment that says what is thrown. */
const ERRORS = /@throws|\bthrow[ns]\b/

/** Whether a function throws itself, not in a function within it. */
const throws = (node: ts.Node): boolean =>
  ts.isThrowStatement(node) ||
  (ts.forEachChild(node, (child) => (!ts.isFunctionLike(child) && throws(child)) || undefined) ?? false)

/** A function, or the signature of one. */
interface Code {
  readonly parameters: readonly ts.ParameterDeclaration[]
  readonly body?: ts.Node | undefined
}

/** What the comment of a function leaves open. */
function gapsOf({ parameters, body }: Code, comment: string): readonly string[] {
  const counts = parameters
    .filter(({ type }) => isNumeric(type))
    .map(({ name }) => name.getText())
    .filter((name) => COUNTS.test(name) && !UNIT.test(comment))
  const gaps = counts.map((name) => `does not say the unit of '${name}'`)
  return body && throws(body) && !ERRORS.test(comment) ? [...gaps, 'does not say what it throws'] : gaps
}

/** The function that a declaration is, or is the name of. */
function functionOf(declaration: ts.Node): Code | undefined {
  if (ts.isFunctionDeclaration(declaration)) return declaration
  if (!ts.isVariableDeclaration(declaration)) return undefined
  const { initializer } = declaration
  return initializer && (ts.isArrowFunction(initializer) || ts.isFunctionExpression(initializer))
    ? initializer
    : undefined
}

/** The comments of a function and of its overloads, which are its siblings of the same name. */
const commentsOf = (node: ts.NamedDeclaration, siblings: readonly ts.Node[]): string =>
  siblings
    .filter((other) => ts.isFunctionLike(other) && other.name?.getText() === node.name?.getText())
    .map(commentOf)
    .join('')

/** What is missing on one exported declaration, a line each. */
export function undocumentedIn(
  declaration: ts.Declaration,
  placeOf: (declaration: ts.Declaration) => string,
): readonly string[] {
  const called = (declaration as ts.NamedDeclaration).name?.getText() ?? 'default'
  const own = ts.isFunctionDeclaration(declaration)
    ? commentsOf(declaration, declaration.getSourceFile().statements)
    : commentOf(declaration)
  const line = (what: ts.Declaration, text: string): string => `${placeOf(what)} ${text}`
  if (own === '') return [line(declaration, `'${called}' has no doc comment`)]
  const code = functionOf(declaration)
  if (code) return gapsOf(code, own).map((gap) => line(declaration, `'${called}' ${gap}`))
  if (!ts.isInterfaceDeclaration(declaration) && !ts.isClassDeclaration(declaration)) return []
  const members: readonly (ts.ClassElement | ts.TypeElement)[] = declaration.members
  return members.filter(isVisible).flatMap((member) => {
    const title = `'${called}.${member.name?.getText() ?? 'new'}'`
    if (ts.isMethodSignature(member) || ts.isMethodDeclaration(member))
      return gapsOf(member, own + commentsOf(member, members)).map((gap) => line(member, `${title} ${gap}`))
    if (!ts.isPropertySignature(member) && !ts.isPropertyDeclaration(member)) return []
    const isOpen = isNumeric(member.type) && !SELF_EVIDENT.test(member.name.getText())
    return isOpen && commentOf(member) === '' && !UNIT.test(own)
      ? [line(member, `${title} has no doc comment`)]
      : []
  })
}
