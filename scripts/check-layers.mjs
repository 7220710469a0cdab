// The architecture, checked: in every package data flows one way. Imports are read as the compiler reads them: types,
// `export ... from` and `import()` count too. Tests may import anything.
//
// - No two files import each other, directly or around a corner; a pair in one folder is let through.
// - Folders of `src` stand in floors: no folder imports one that, directly or not, imports it. Files that lie directly in
//   `src` are one floor, above every folder but `testing`.
// - Packages depend on each other in one direction as well.
//
// The rules hold for every folder and every package that there is. `--show` prints the floors.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative, sep } from 'node:path'
import ts from 'typescript'
import { at, readJson } from './toolchain.mjs'

const LARGEST_CIRCLE = 2

/** The parts of a directed graph in which each leads to each other: Tarjan's algorithm. @param edges targets by source */
function circlesOf(edges) {
  const [order, low, stack, circles] = [new Map(), new Map(), [], []]
  const visit = (from) => {
    order.set(from, order.size)
    low.set(from, order.get(from))
    stack.push(from)
    for (const to of edges.get(from) ?? []) {
      if (!order.has(to)) visit(to)
      if (stack.includes(to)) low.set(from, Math.min(low.get(from), low.get(to)))
    }
    if (low.get(from) !== order.get(from)) return
    const circle = stack.splice(stack.indexOf(from))
    if (circle.length > 1) circles.push(circle)
  }
  for (const from of edges.keys()) if (!order.has(from)) visit(from)
  return circles
}

/** The floors of a graph without circles, top first: each imports only what stands below it. */
function floorsOf(edges) {
  const height = new Map()
  const measure = (from) => {
    if (!height.has(from)) height.set(from, 1 + Math.max(-1, ...[...(edges.get(from) ?? [])].map(measure)))
    return height.get(from)
  }
  for (const from of edges.keys()) measure(from)
  return [...edges.keys()].sort((a, b) => height.get(b) - height.get(a) || a.localeCompare(b))
}

function sourcesIn(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return sourcesIn(path)
    return entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') ? [path] : []
  })
}

/** Where in `text` a file is named, as `file:line`. */
const lineOf = (path, text, name) =>
  `${relative(at(), path).split(sep).join('/')}:${text.slice(0, text.indexOf(`'${name}'`)).split('\n').length}`

/** @returns by file the files of the same package that it imports, and where it does so */
function importsOf(files) {
  const known = new Set(files)
  return new Map(
    files.map((file) => {
      const text = readFileSync(file, 'utf8')
      const imports = new Map()
      for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
        const target = normalize(join(dirname(file), fileName))
        if (fileName.startsWith('.') && known.has(target)) imports.set(target, lineOf(file, text, fileName))
      }
      return [file, imports]
    }),
  )
}

/** The floor on which a file stands: its folder, or `src` itself. */
const floorOf = (file, src) => (dirname(file) === src ? '.' : relative(src, file).split(sep)[0])

function checkPackage(name, show) {
  const src = at('packages', name, 'src')
  const imports = importsOf(sourcesIn(src))
  const problems = []
  const edges = new Map([...imports].map(([file, targets]) => [file, [...targets.keys()]]))
  for (const circle of circlesOf(edges)) {
    const isPair = circle.length <= LARGEST_CIRCLE && dirname(circle[0]) === dirname(circle[1])
    if (!isPair)
      problems.push(
        `packages/${name}: ${circle.length} files import each other in a circle:\n` +
          circle
            .flatMap((file) => [...imports.get(file)].filter(([target]) => circle.includes(target)))
            .map(([target, where]) => `    ${where} imports ${relative(src, target)}`)
            .join('\n'),
      )
  }
  const floors = new Map()
  const witnesses = new Map()
  for (const [file, targets] of imports) {
    const from = floorOf(file, src)
    if (!floors.has(from)) floors.set(from, new Set())
    for (const [target, where] of targets) {
      const to = floorOf(target, src)
      if (to === from) continue
      floors.get(from).add(to)
      const key = `${from} ${to}`
      witnesses.set(key, [...(witnesses.get(key) ?? []), `    ${where} imports ${relative(src, target)}`])
    }
  }
  // What lies directly in `src` is the face of the package.
  for (const [from, targets] of floors)
    if (from !== '.' && from !== 'testing' && targets.has('.'))
      problems.push(
        `packages/${name}: folder ${from} imports files that stand above it:\n${witnesses.get(`${from} .`).join('\n')}`,
      )
  for (const circle of circlesOf(floors)) {
    const arrows = circle.flatMap((from) =>
      circle.flatMap((to) => (witnesses.get(`${from} ${to}`) ?? []).slice(0, 3)),
    )
    problems.push(`packages/${name}: folders ${circle.join(', ')} import each other:\n${arrows.join('\n')}`)
  }
  if (show && problems.length === 0) {
    console.log(`${name}: ${floors.size} rooms, ${new Set(witnesses.keys()).size} arrows`)
    for (const floor of floorsOf(floors))
      console.log(`  ${floor} -> ${[...floors.get(floor)].sort().join(' ')}`)
  }
  return problems
}

/** Which packages each package needs when it is installed. */
function checkPackages(names) {
  const edges = new Map(
    names.map((name) => {
      const { dependencies = {}, peerDependencies = {} } = readJson(at('packages', name, 'package.json'))
      const needs = Object.keys({ ...dependencies, ...peerDependencies })
      return [name, names.filter((other) => needs.includes(`@vmblock/${other}`) || needs.includes(other))]
    }),
  )
  return circlesOf(edges).map((circle) => `packages ${circle.join(', ')} depend on each other`)
}

const show = process.argv.includes('--show')
const names = readdirSync(at('packages')).filter((name) => existsSync(at('packages', name, 'src')))
const problems = [...names.flatMap((name) => checkPackage(name, show)), ...checkPackages(names)]
for (const problem of problems) console.error(problem)
process.exitCode = problems.length === 0 ? 0 : 1
