/**
 * State that all copies of this library in one realm share. A process often has several copies: the ES
 * modules and the CommonJS build, or one in the `node_modules` of a dependency. The protection of a file
 * against two writers, and of nodes against forgery, must work across copies.
 */

/**
 * The state of that name, made by the first copy that calls this. Copies of different versions meet here: the
 * state under a name never changes its shape; a new shape needs a new name.
 */
export function shared<T extends object>(name: string, make: () => T): T {
  const holder = globalThis as unknown as Record<symbol, T | undefined>
  const key = Symbol.for(`vmblock.${name}`)
  const present = holder[key]
  if (present) return present
  const state = make()
  // Not enumerable among the globals, and not replaceable.
  Object.defineProperty(holder, key, { value: state })
  return state
}
