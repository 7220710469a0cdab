/** Where koffi is, an optional peer dependency: as seen from this file or its bundle, which as CommonJS has no `import.meta`. */
import { existsSync, realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { arch, execPath, platform } from 'node:process'
import { fileURLToPath } from 'node:url'

/** @throws Error if it is not installed */
export function koffiFile(): string {
  const here = typeof __filename === 'string' ? __filename : fileURLToPath(import.meta.url)
  const { resolve } = createRequire(here)
  // To resolve symbolic links, Node 20 needs the last statSync of the process to be of a regular file, and not of a pipe or a socket.
  statSync(execPath)
  return binaryFrom(resolve, dirname(here)) ?? resolve('koffi')
}

/**
 * The package with koffi's binary for this system, which normally lies beside koffi: koffi itself is little more than the search for
 * it, which takes more than half of the loading time.
 */
function binaryFrom(resolve: NodeJS.RequireResolve, directory: string): string | undefined {
  const koffi = join(directory, 'node_modules', 'koffi')
  if (!existsSync(koffi)) {
    const above = dirname(directory)
    return above === directory ? undefined : binaryFrom(resolve, above)
  }
  try {
    return resolve(join(realpathSync.native(koffi), '..', '@koromix', `koffi-${platform}-${arch}`))
  } catch {
    return undefined
  }
}
