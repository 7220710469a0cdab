// A program of a project: what an editor offers where options are written.
const { readFileSync } = require('node:fs')
const ts = require('typescript')

/** Source with a mark where the cursor is, and names that must be offered there. */
const PLACES = [
  [
    "import { create } from 'vmblock'\nvoid create('a.qcow2', { | })",
    ['size', 'lazyRefcounts', 'clusterSize', 'backing'],
  ],
  ["import { open } from 'vmblock'\nvoid open('a.qcow2', { | })", ['readOnly', 'allow', 'format']],
  ["import { check } from 'vmblock'\nvoid check('a.qcow2', { repair: '|' })", ['leaks', 'all']],
  [
    `import { DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import { qcow2 } from '@vmblock/qcow2'
const env = { registry: new DriverRegistry([memory, qcow2]), host: denyHost }
void openNode(env, { driver: 'qcow2', | })`,
    ['lazyRefcounts', 'l2CacheSize', 'backing', 'readOnly'],
  ],
  [
    `import { DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import { qcow2 } from '@vmblock/qcow2'
void openNode({ registry: new DriverRegistry([]), host: denyHost }, { driver: qcow2, file: { driver: memory, | } })`,
    ['size', 'readOnly'],
  ],
]

const files = new Map(
  PLACES.map(([text], index) => [`${process.cwd()}/place${index}.ts`, text.replace('|', '')]),
)
const host = {
  getCompilationSettings: () => ({ strict: true, module: 100, target: 9, types: ['node'], noEmit: true }),
  getScriptFileNames: () => [...files.keys()],
  getScriptVersion: () => '1',
  getScriptSnapshot: (name) => {
    const text = files.get(name) ?? (ts.sys.fileExists(name) ? readFileSync(name, 'utf8') : undefined)
    return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
  },
  getCurrentDirectory: () => process.cwd(),
  getDefaultLibFileName: ts.getDefaultLibFilePath,
  fileExists: (name) => files.has(name) || ts.sys.fileExists(name),
  readFile: (name) => files.get(name) ?? ts.sys.readFile(name),
  readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists,
  getDirectories: ts.sys.getDirectories,
}
const service = ts.createLanguageService(host)
for (const [index, [text, wanted]] of PLACES.entries()) {
  const offered =
    service.getCompletionsAtPosition([...files.keys()][index], text.indexOf('|'), {})?.entries ?? []
  const names = new Set(offered.map(({ name }) => name))
  const missing = wanted.filter((name) => !names.has(name))
  if (missing.length > 0) {
    console.log(
      `place ${index}: ${missing.join(', ')} not offered among ${[...names].slice(0, 30).join(', ')}`,
    )
    process.exit(1)
  }
}
console.log('offered')
