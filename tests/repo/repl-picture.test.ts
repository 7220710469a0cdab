/** The picture of the REPL's crash and repair in README shows what the REPL prints. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { picture, transcript } from '../../scripts/repl-picture.mjs'
import { buildProgram } from '../support/built-program.ts'
import { ROOT } from '../support/doc-blocks.ts'

test.skipIf(process.platform === 'win32')('the picture of the REPL is what it prints', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-picture-'))
  try {
    const lines = transcript(await buildProgram('qemu-io-ts', directory))
    expect(lines).toContain('Rebuilding refcount structure')
    expect(readFileSync(join(ROOT, 'docs/images/repl.svg'), 'utf8')).toBe(picture(lines))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
