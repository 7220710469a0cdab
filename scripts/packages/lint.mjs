// What can be seen of a tarball without installing it: publint and attw, what must be in it, and what must not.
import { readFileSync } from 'node:fs'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

/** Problems of a manifest, as it is in a tarball: a project that installs it has no workspace, and no scripts of ours. */
export function manifestProblems(manifest) {
  const problems = []
  for (const kind of ['dependencies', 'optionalDependencies', 'peerDependencies', 'devDependencies'])
    for (const [name, range] of Object.entries(manifest[kind] ?? {}))
      if (/^(workspace|link|file|catalog):/.test(range)) problems.push(`${kind} says ${name}: ${range}`)
  for (const script of ['preinstall', 'install', 'postinstall', 'prepack', 'prepare'])
    if (manifest.scripts?.[script]) problems.push(`the script ${script} is published`)
  return problems
}

/** @returns a line for each problem of a tarball */
export async function lint({ manifest: { name }, tarball }) {
  const bytes = readFileSync(tarball)
  const content = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
  const { messages, pkg } = await publint({ pack: { tarball: content } })
  const problems = messages.map((message) => `publint: ${formatMessage(message, pkg, { color: false })}`)
  const opened = createPackageFromTarballData(bytes)
  const within = (path) => `/node_modules/${name}/${path}`
  problems.push(...manifestProblems(JSON.parse(opened.readFile(within('package.json')))))
  for (const file of ['README.md', 'LICENSE'])
    if (!opened.fileExists(within(file))) problems.push(`has no ${file}`)
  const analysis = await checkPackage(opened)
  if (!analysis.types) problems.push('attw: has no types')
  // Node 10's resolution has no subpath exports; Node 20 is the oldest version we support.
  for (const { kind, entrypoint = '', resolutionKind = '' } of analysis.problems ?? [])
    if (resolutionKind !== 'node10') problems.push(`attw: ${kind} ${entrypoint} ${resolutionKind}`)
  return problems.map((problem) => `${name}: ${problem}`)
}
