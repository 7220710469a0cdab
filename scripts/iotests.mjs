// The iotests runner: turns `check`-like arguments into one vitest run. `pnpm iotests --help` explains them.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { at, nodeTool, readJson, root } from './toolchain.mjs'

/** The formats of the list, as options: `-qcow2`. */
const FORMATS = Object.keys(readJson(at('packages', 'formats', 'package.json')).dependencies)
  .map((name) => name.replace('@vmblock/', '-'))
  .filter((name) => name !== '-block-core')

const HELP = `usage: pnpm iotests [options] [number...]
  ${FORMATS.join(' ').padEnd(22)}  run on this format alone (default: the whole matrix of formats and options)
  -o key=value,...        create images with these options; $TEST_IMG stands for the image's path
  -c MODE, -nocache       cache mode: writeback, writethrough, none, directsync, unsafe
  -g GROUP                only cases of this group (repeatable): rw, auto, quick, backing, ...
  -x NAME                 leave out a group or a number (repeatable)
  -j JOBS                 cases at the same time
  -d                      show every command with its output; keep the image files
  -n                      name the cases that would run, run nothing
  --real                  QEMU's own programs in place of ours (QEMU_IO and QEMU_IMG may name them)
  --real-img              QEMU's qemu-img beside our qemu-io
  --process               our built programs as processes (default: inside the test process)
  --scratch DIRECTORY     where images are made (default: the system's directory for such files)
`

/** Parses the command line; throws an Error that says what is wrong with it. */
function parse(argv) {
  const env = {}
  const numbers = []
  const lists = { IOTESTS_FORMATS: [], IOTESTS_GROUPS: [], IOTESTS_EXCLUDE: [] }
  let dry = false
  const words = [...argv]
  const value = (option) => {
    const word = words.shift()
    if (word === undefined) throw new Error(`option ${option} needs a value`)
    return word
  }
  while (words.length > 0) {
    const word = words.shift()
    if (word === '--') continue
    if (word === '-h' || word === '--help') return undefined
    if (FORMATS.includes(word)) lists.IOTESTS_FORMATS.push(word.slice(1))
    else if (word === '-o') env.IOTESTS_IMGOPTS = value(word)
    else if (word === '-c') env.IOTESTS_CACHE = value(word)
    else if (word === '-nocache') env.IOTESTS_CACHE = 'none'
    else if (word === '-g') lists.IOTESTS_GROUPS.push(value(word))
    else if (word === '-x') lists.IOTESTS_EXCLUDE.push(value(word))
    else if (word === '-j') env.IOTESTS_JOBS = value(word)
    else if (word === '-d') env.IOTESTS_DEBUG = '1'
    else if (word === '-n') dry = true
    else if (word === '--real' || word === '--process') env.IOTESTS_SUBJECT = word.slice(2)
    else if (word === '--real-img') env.IOTESTS_IMG = 'real'
    else if (word === '--scratch') env.IOTESTS_SCRATCH = value(word)
    else if (/^[\w-]+$/.test(word) && !word.startsWith('-')) numbers.push(word)
    else throw new Error(`option ${word} is not known`)
  }
  const cacheModes = ['writeback', 'writethrough', 'none', 'directsync', 'unsafe']
  if (env.IOTESTS_CACHE && !cacheModes.includes(env.IOTESTS_CACHE)) {
    throw new Error(`cache mode '${env.IOTESTS_CACHE}' is none of ${cacheModes.join(', ')}`)
  }
  if (env.IOTESTS_JOBS && !/^[1-9]\d*$/.test(env.IOTESTS_JOBS)) throw new Error('option -j needs a number')
  for (const [name, list] of Object.entries(lists)) if (list.length > 0) env[name] = list.join(',')
  return { env, numbers, dry }
}

function main(argv) {
  const parsed = parse(argv)
  if (!parsed) {
    process.stdout.write(HELP)
    return
  }
  const { env, numbers, dry } = parsed
  const files = numbers.map((number) => `tests/iotests/cases/${number}.test.ts`)
  const absent = numbers.filter((_, i) => !existsSync(at(files[i])))
  if (absent.length > 0)
    throw new Error(`no case ${absent.join(', ')}; PORTED.md says what became of each number`)
  const args = dry ? ['list'] : ['run', '--reporter=verbose']
  if (env.IOTESTS_JOBS) args.push(`--maxWorkers=${env.IOTESTS_JOBS}`)
  args.push('--project', 'iotests', ...(files.length > 0 ? files : ['tests/iotests/cases/']))
  const [node, vitest] = nodeTool('vitest/vitest.mjs')
  const child = spawn(node, [vitest, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: 'inherit',
  })
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal ? 1 : 0)
  })
}

try {
  main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`iotests: ${error.message}\n`)
  process.exitCode = 2
}
