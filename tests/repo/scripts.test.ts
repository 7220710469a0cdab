/** The scripts that guard the tree see what they are there for. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const scripts = new URL('../../scripts/', import.meta.url)

interface DocCheck {
  undocumented(path: string, text: string): string[]
}

describe('check-docs', async () => {
  const { undocumented } = (await import(new URL('check-docs.mjs', scripts).href)) as DocCheck

  it('names exported symbols without a doc comment', () => {
    const text =
      '/** A file. */\nimport x from "x"\nexport const a = 1\n// no doc\nexport function b() {}\nexport type C = 1\n'
    expect(undocumented('f.ts', text)).toEqual([
      "f.ts:3 'a' is exported without a doc comment",
      "f.ts:5 'b' is exported without a doc comment",
      "f.ts:6 'C' is exported without a doc comment",
    ])
  })

  it('takes one comment for all overloads, and asks none of what is not exported here', () => {
    const text =
      '/** A file. */\nexport { y } from "y"\nconst z = 1\n/** One. */\nexport function f(a: 1): 1\nexport function f(a: 2): 2\nexport function f(a: number) { return a }\n'
    expect(undocumented('f.ts', text)).toEqual([])
  })

  it('wants a file to begin with its idea', () => {
    expect(undocumented('f.ts', 'const a = 1\n')).toEqual([
      'f.ts:1 does not start with a comment that says its idea',
    ])
  })
})

describe('npm test', () => {
  it('fails, with counts as its last line, when no test ran', () => {
    const { status, stdout } = spawnSync(
      process.execPath,
      ['scripts/test.mjs', '--project', 'repo', 'no-such-file'],
      {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, VITEST: '', VMBLOCK_TEST_REPORT: 'nested.json' },
      },
    )
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('0 passed, 1 failed, 0 skipped')
    expect(status).toBe(1)
  })
})
