// How the programs are bundled: Node's larger modules are loaded when one of their exports is first used, not when the
// program starts. Most commands use none of them; zlib alone takes as long to load as a quarter of an empty script.
import { createRequire } from 'node:module'

const MODULES = ['crypto', 'module', 'os', 'worker_threads', 'zlib']
const NAMESPACE = 'late-builtins'

const load = createRequire(import.meta.url)

/** A module whose exports are read from Node's own. */
function standIn(path) {
  // Only koffi.ts asks for a `require`, and that of the program sees the same packages.
  if (path === 'node:module') return 'exports.createRequire = () => require'
  return Object.keys(load(path))
    .map(
      (name) =>
        `Object.defineProperty(exports, '${name}', { enumerable: true, get: () => require('${path}').${name} })`,
    )
    .join('\n')
}

/** The plugin for esbuild; the output must be CommonJS. */
export const lateBuiltins = {
  name: NAMESPACE,
  setup(build) {
    build.onResolve({ filter: new RegExp(`^node:(${MODULES.join('|')})$`) }, ({ path, namespace }) =>
      namespace === NAMESPACE ? { path, external: true } : { path, namespace: NAMESPACE },
    )
    build.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }) => ({ contents: standIn(path) }))
  },
}
