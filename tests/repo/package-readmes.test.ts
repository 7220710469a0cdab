/** Every package says what it is; the examples of its README run, and print what stands beside them. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { FOR_PAGES } from '../bundles/src/bundle.ts'
import { publicPackages, root } from './src/packages.ts'

interface Example {
  readonly code: string
  /** The lines that it prints: `console.log(x) // this`. */
  readonly prints: readonly string[]
}

const examplesOf = (readme: string): readonly Example[] =>
  [...readme.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, code]) => ({
    code: code!,
    prints: [...code!.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, said]) => said!),
  }))

/** Bundles an example, of the sources; imports of what is not there are errors. */
async function bundle({ code }: Example, outfile?: string): Promise<void> {
  await build({
    stdin: { contents: code, resolveDir: `${root}tests/repo` },
    bundle: true,
    format: 'esm',
    platform: outfile ? 'node' : 'browser',
    target: 'es2022',
    logLevel: 'silent',
    logOverride: { 'import-is-undefined': 'error' },
    tsconfig: `${root}tsconfig.json`,
    ...(outfile ? { outfile } : { write: false, alias: FOR_PAGES }),
  })
}

async function run(example: Example): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-example-'))
  try {
    const file = join(directory, 'example.mjs')
    writeFileSync(join(directory, 'package.json'), '{}')
    await bundle(example, file)
    const printed = execFileSync(process.execPath, [file], { cwd: directory, encoding: 'utf8' })
    return printed.trimEnd().split('\n')
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

describe.each(publicPackages())('README of $manifest.name', ({ folder, manifest }) => {
  const file = `${root}packages/${folder}/README.md`
  const readme = existsSync(file) ? readFileSync(file, 'utf8') : ''

  it('is short, and says how to install the package, where it runs, and where to read on', () => {
    const lines = readme.split('\n').length
    expect(lines).toBeGreaterThan(15)
    expect(lines).toBeLessThan(50)
    expect(readme).toMatch(new RegExp(`^# ${manifest.name}\n`))
    expect(readme).toMatch(new RegExp(`^    npm install .*${manifest.name}\\b`, 'm'))
    expect(readme).toMatch(/\b[Rr]uns (in|on)\b/)
    expect(readme).toContain(`${String(manifest.repository?.url).replace(/^git\+|\.git$/g, '')}/blob/main/`)
  })

  it('links to files that are there', () => {
    const links = [...readme.matchAll(/\/blob\/main\/([^)#]+)/g)].map(([, path]) => path!)
    expect(links.filter((path) => !existsSync(root + path))).toEqual([])
  })

  const examples = examplesOf(readme)
  it.runIf(examples.length > 0)('has examples that print what they say', async () => {
    for (const example of examples)
      if (example.prints.length > 0) expect(await run(example)).toEqual(example.prints)
      else await bundle(example)
  })
})
