// Stamps record the inputs of a step's last run. They live in node_modules, so that removing it removes them.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { at } from './toolchain.mjs'

const fileOf = (name) => at('node_modules', '.vmblock', `${name}.json`)

/** Every file below a directory, sorted, as full paths. */
export function filesBelow(directory) {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}

/** One hash of files (names and content; a missing file counts as such) and further strings. */
export function hashOf(files, ...more) {
  const hash = createHash('sha256')
  for (const text of more) hash.update(`${text}\0`)
  for (const file of files) {
    hash.update(`${file.slice(at().length)}\0`)
    hash.update(existsSync(file) ? readFileSync(file) : '\0missing')
  }
  return hash.digest('hex')
}

/** Whether a step was run on these inputs, and its outputs still exist. */
export function isCurrent(name, hash) {
  try {
    const stamp = JSON.parse(readFileSync(fileOf(name), 'utf8'))
    return stamp.hash === hash && stamp.outputs.every((path) => existsSync(at(path)))
  } catch {
    return false
  }
}

/** Records that a step was run. `outputs` are full paths. */
export function remember(name, hash, outputs = []) {
  mkdirSync(dirname(fileOf(name)), { recursive: true })
  writeFileSync(
    fileOf(name),
    JSON.stringify({ hash, outputs: outputs.map((path) => path.slice(at().length + 1)) }),
  )
}
