/**
 * Which doc comments are missing on a declaration that users see. A symbol needs one. A number needs one, too, or one of
 * its interface that names a unit; and a function that takes offsets, sizes or lengths names their unit.
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

type Signature = Pick<ts.SignatureDeclarationBase, 'parameters'>

/** The parameters whose unit no comment says. */
const unclear = ({ parameters }: Signature, comment: string): readonly string[] =>
  UNIT.test(comment)
    ? []
    : parameters
        .filter(({ type }) => isNumeric(type))
        .map(({ name }) => name.getText())
        .filter((name) => COUNTS.test(name))

/** The function that a declaration is, or is the name of. */
function signatureOf(declaration: ts.Node): Signature | undefined {
  if (ts.isFunctionDeclaration(declaration)) return declaration
  if (!ts.isVariableDeclaration(declaration)) return undefined
  const { initializer } = declaration
  return initializer && (ts.isArrowFunction(initializer) || ts.isFunctionExpression(initializer))
    ? initializer
    : undefined
}

/** What is missing on one exported declaration, a line each. */
export function undocumentedIn(
  declaration: ts.Declaration,
  placeOf: (declaration: ts.Declaration) => string,
): readonly string[] {
  const { name } = declaration as ts.NamedDeclaration
  const called = name?.getText() ?? 'default'
  const own = commentOf(declaration)
  if (own === '' && !isLaterOverload(declaration))
    return [`${placeOf(declaration)} '${called}' has no doc comment`]
  const missing = (what: ts.Declaration, text: string): string => `${placeOf(what)} ${text}`
  const signature = signatureOf(declaration)
  if (signature)
    return unclear(signature, own).map((parameter) =>
      missing(declaration, `'${called}' does not say the unit of '${parameter}'`),
    )
  if (!ts.isInterfaceDeclaration(declaration) && !ts.isClassDeclaration(declaration)) return []
  return [...declaration.members].filter(isVisible).flatMap((member) => {
    const comment = commentOf(member)
    const title = `'${called}.${member.name?.getText() ?? 'new'}'`
    if (ts.isPropertySignature(member) || ts.isPropertyDeclaration(member)) {
      const isOpen = isNumeric(member.type) && !SELF_EVIDENT.test(member.name.getText())
      return isOpen && comment === '' && !UNIT.test(own)
        ? [missing(member, `${title} has no doc comment`)]
        : []
    }
    if (!ts.isMethodSignature(member) && !ts.isMethodDeclaration(member)) return []
    return unclear(member, own + comment).map((parameter) =>
      missing(member, `${title} does not say the unit of '${parameter}'`),
    )
  })
}

/** The comment of the first overload covers all of them. */
function isLaterOverload(declaration: ts.Declaration): boolean {
  if (!ts.isFunctionDeclaration(declaration)) return false
  const [first] = declaration
    .getSourceFile()
    .statements.filter(
      (other) => ts.isFunctionDeclaration(other) && other.name?.text === declaration.name?.text,
    )
  return first !== declaration && first !== undefined && commentOf(first) !== ''
}
