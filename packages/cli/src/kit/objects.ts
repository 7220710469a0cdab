/** `--object`: what images refer to by its id, defined on the command line. */
import { messageOf, type RawOptions } from '@vmblock/block-core'
import { optionTree } from '@vmblock/block-core/driver'
import type { ThrottleGroups, ThrottleLimits } from '@vmblock/block-core/filters'
import { parseJson } from '@vmblock/block-core/late'
import { Failure } from './failure.ts'
import { makeSecret, type SecretSource } from './secrets.ts'
import { throttleLimits } from './throttle-limits.ts'

/** Where objects are kept, and what they are made from. */
export interface ObjectStore extends SecretSource {
  /** Those of the driver `throttle`; undefined without that driver. */
  readonly groups: ThrottleGroups | undefined
}

const fail = (message: string): never => {
  throw new Failure(message)
}

/** A definition that was read: the type, the id, and the other properties. */
interface Definition {
  readonly type: string
  readonly id: string
  readonly properties: RawOptions
}

/** Reads `[qom-type=]TYPE,key=value,...`, in which `,,` stands for a comma, as a tree. @throws Failure */
function readWords(text: string): RawOptions {
  const values: [string, string][] = []
  const parts = text.match(/(?:[^,]|,,)+/g) ?? []
  for (const [i, part] of parts.entries()) {
    const equals = part.indexOf('=')
    if (equals < 0 && i > 0) fail(`Expected '=' after parameter '${part}'`)
    const key = equals < 0 ? 'qom-type' : part.slice(0, equals)
    values.push([key, part.slice(equals + 1).replaceAll(',,', ',')])
  }
  return optionTree(values)
}

/** @throws Failure with QEMU's words */
function readJson(text: string): RawOptions {
  try {
    return parseJson(text) as RawOptions
  } catch (error) {
    return fail((error as Error).message)
  }
}

const textOf = (value: unknown, name: string): string => {
  if (value === undefined) return fail(`Parameter '${name}' is missing`)
  return typeof value === 'string' ? value : fail(`Invalid parameter type for '${name}', expected: string`)
}

function readDefinition(text: string): Definition {
  const tree = text.startsWith('{') ? readJson(text) : readWords(text)
  const { 'qom-type': type, id, ...properties } = tree
  return { type: textOf(type, 'qom-type'), id: id as string, properties }
}

/** Letters, digits and three signs, after a letter. */
const IDENTIFIER = /^[a-z][-._a-z0-9]*$/i

/** @throws Failure if the id is missing, none, or taken */
function requireId(id: unknown): void {
  if (!IDENTIFIER.test(textOf(id, 'id')))
    throw new Failure("Parameter 'id' expects an identifier", {
      hint: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
    })
}

/** @throws Failure for limits that contradict each other */
function defineGroup(groups: ThrottleGroups, id: string, limits: ThrottleLimits): void {
  try {
    groups.define(id, limits)
  } catch (error) {
    fail(messageOf(error))
  }
}

/**
 * Defines an object: a secret, or a throttle group.
 *
 * @param text the object as written on the command line: words, or JSON
 * @throws Failure with QEMU's message for an invalid definition
 */
export async function defineObject(store: ObjectStore, text: string): Promise<void> {
  const { type, id, properties } = readDefinition(text)
  const { secrets, groups } = store
  const isGroup = type === 'throttle-group' && groups !== undefined
  if (type !== 'secret' && !isGroup) fail(`Parameter 'qom-type' does not accept value '${type}'`)
  textOf(id, 'id')
  const limits = isGroup ? throttleLimits(properties, !text.startsWith('{')) : undefined
  const secret = isGroup ? undefined : await makeSecret(store, properties)
  requireId(id)
  if (secrets.has(id) || groups?.find(id))
    fail(`attempt to add duplicate property '${id}' to object (type 'container')`)
  if (secret) secrets.set(id, secret)
  else defineGroup(groups!, id, limits!)
}
