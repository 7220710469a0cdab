/** ARCHITECTURE.md is a page, and shows the folders that there are, in the order of their floors. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const text = readFileSync(`${ROOT}ARCHITECTURE.md`, 'utf8')

/** The packages of which the page shows the folders, with the folders it shows. */
const shown = [...text.matchAll(/^`(packages\/[^`]+\/src)`\n\n((?: {4}.*\n)+)/gm)].map(([, path, list]) => ({
  path: path!,
  folders: [...list!.matchAll(/^ {4}([\w-]+)\//gm)].map(([, name]) => name!),
}))

/** Which folder imports which, as the check of layers prints it. */
const floors = execFileSync(process.execPath, ['scripts/check-layers.mjs', '--show'], {
  cwd: ROOT,
  encoding: 'utf8',
})

function arrowsOf(path: string): ReadonlyMap<string, readonly string[]> {
  const part = floors.split(/^(?=\S)/m).find((lines) => lines.startsWith(`${path.split('/')[1]}:`))!
  return new Map(
    [...part.matchAll(/^ {2}(\S+) ->(.*)$/gm)].map(([, from, to]) => [from!, to!.trim().split(' ')]),
  )
}

it('is one page', () => {
  expect(text.split('\n').length).toBeLessThanOrEqual(80)
})

it('shows the packages with most folders', () => {
  expect(shown.map(({ path }) => path)).toEqual([
    'packages/block-core/src',
    'packages/qcow2/src',
    'packages/v86/src',
  ])
})

describe.each(shown)('$path', ({ path, folders }) => {
  it('has these folders', () => {
    const there = readdirSync(ROOT + path, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    expect([...folders].sort()).toEqual(there.map(({ name }) => name).sort())
  })

  it('has them in order: each imports only what stands below it', () => {
    const arrows = arrowsOf(path)
    for (const [floor, folder] of folders.entries()) {
      if (folder === 'testing') continue
      const above = folders.slice(0, floor)
      expect([folder, (arrows.get(folder) ?? []).filter((to) => above.includes(to))]).toEqual([folder, []])
    }
  })
})

it('leads to files that exist', () => {
  const links = [...text.matchAll(/\]\(([^)#]+)\)/g)].map(([, target]) => target!)
  expect(links.length).toBeGreaterThan(10)
  expect(links.filter((target) => !existsSync(ROOT + target))).toEqual([])
})
