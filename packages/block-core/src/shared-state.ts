/**
 * State that all copies of this library in one realm have in common. A process often has several: the ES modules and the
 * CommonJS build, or one in the `node_modules` of a dependency. What keeps two writers off one file, and what tells a node
 * from a forgery, must not end where a copy does.
 */

/**
 * The state of that name, made by the copy that asks first. Copies of different versions meet here: what is kept under
 * a name keeps its shape, and what needs another shape takes another name.
 */
export function shared<T extends object>(name: string, make: () => T): T {
  const holder = globalThis as unknown as Record<symbol, T | undefined>
  const key = Symbol.for(`vmblock.${name}`)
  const present = holder[key]
  if (present) return present
  const state = make()
  // Not to be listed among the globals, nor replaced.
  Object.defineProperty(holder, key, { value: state })
  return state
}
