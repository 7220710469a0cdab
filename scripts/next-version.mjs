// `npm run next-version`: makes the next version of what `.changeset` says. Changesets finds the version and writes it into
// the packages; this moves the texts into the one changelog, and writes the version where else it stands.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { at, Failure, fail, mustRun, nodeTool, pnpm, readJson, say } from './toolchain.mjs'

const KINDS = ['major', 'minor', 'patch', 'none']

/** The largest change that a changeset is for any package. */
const kindOf = ({ releases }) => KINDS.find((kind) => releases.some(({ type }) => type === kind)) ?? 'none'

/**
 * The section of a version.
 *
 * @param changesets `{ summary, releases: [{ name, type }] }`, as changesets reports them
 */
export function section(version, changesets) {
  const items = changesets
    .map((changeset) => ({ kind: KINDS.indexOf(kindOf(changeset)), summary: changeset.summary.trim() }))
    .sort((a, b) => a.kind - b.kind)
    .map(({ summary }) => `- ${summary.replaceAll('\n', '\n  ')}`)
  return `## ${version}\n\n${items.join('\n')}\n`
}

/** Puts a section above those of the versions before. */
export function withSection(changelog, text) {
  const first = changelog.indexOf('\n## ')
  if (first < 0) throw new Failure('CHANGELOG.md has no version')
  return `${changelog.slice(0, first + 1)}${text}\n${changelog.slice(first + 1)}`
}

/** What changesets would release. */
async function plan() {
  mkdirSync(at('.cache'), { recursive: true })
  await changeset('status', '--output', join('.cache', 'release.json'))
  return readJson(at('.cache', 'release.json'))
}

function changeset(...args) {
  const [node, program] = nodeTool('@changesets/cli/bin.js')
  return mustRun(`changeset ${args[0]}`, node, [program, ...args])
}

function replaceIn(path, from, to) {
  const text = readFileSync(at(...path.split('/')), 'utf8')
  const changed = text.replace(from, to)
  if (changed === text) throw new Failure(`${path} does not say its version`)
  writeFileSync(at(...path.split('/')), changed)
}

async function main() {
  const { changesets, releases } = await plan()
  if (changesets.length === 0) throw new Failure('nothing to release: .changeset says no change')
  const raised = releases.filter(({ oldVersion, newVersion }) => oldVersion !== newVersion)
  const versions = new Set(raised.map(({ newVersion }) => newVersion))
  if (versions.size !== 1)
    throw new Failure(`packages would have several versions: ${[...versions].join(', ')}`)
  const [version] = versions
  await changeset('version')
  replaceIn('package.json', /"version": ".*"/, `"version": "${version}"`)
  replaceIn('packages/cli/src/text/version.ts', /VERSION = '.*'/, `VERSION = '${version}'`)
  writeFileSync(
    at('CHANGELOG.md'),
    withSection(readFileSync(at('CHANGELOG.md'), 'utf8'), section(version, changesets)),
  )
  await pnpm('updating pnpm-lock.yaml', ['install', '--lockfile-only', '--no-frozen-lockfile'])
  say(`the next version is ${version}: read CHANGELOG.md`)
}

if (process.argv[1]?.endsWith('next-version.mjs')) await main().catch(fail)
