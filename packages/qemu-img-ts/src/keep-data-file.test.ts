/** `keep_data_file`: an image is made around a data file that is there. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runOurs } from './testing/two-programs.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-kept-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const path = (name: string): string => join(directory, name)

const create = (options: string, size = '64k') =>
  runOurs([
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${path('data')},keep_data_file=on${options}`,
    path('image'),
    size,
  ])

describe('an image around a data file', () => {
  const content = new Uint8Array(65536).map((_, at) => at % 251)

  it.each([',data_file_raw=on', ',preallocation=metadata'])('shows what is in it (%s)', async (options) => {
    writeFileSync(path('data'), content)
    expect(await create(options)).toEqual({ status: 0, out: '', err: '' })
    expect(new Uint8Array(readFileSync(path('data')))).toEqual(content)
    expect(await runOurs(['compare', '-F', 'raw', path('image'), path('data')])).toMatchObject({ status: 0 })
    expect(await runOurs(['check', path('image')])).toMatchObject({ status: 0 })
  })

  it('lets it grow, and cuts nothing off', async () => {
    writeFileSync(path('data'), content)
    expect(await create(',data_file_raw=on', '128k')).toMatchObject({ status: 0 })
    const grown = new Uint8Array(readFileSync(path('data')))
    expect([grown.length, grown.subarray(0, 65536)]).toEqual([131072, content])
    expect(await create(',data_file_raw=on', '4k')).toMatchObject({ status: 0 })
    expect(readFileSync(path('data')).length).toBe(131072)
  })

  it('is refused without a data file, or where its content would be lost or not be seen', async () => {
    const alone = await runOurs([
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'keep_data_file=on',
      path('image'),
      '1M',
    ])
    expect(alone.err).toMatch("Must not use 'keep_data_file=on' without 'data_file'")
    expect((await create(',data_file_raw=on')).err).toMatch('No such file or directory')
    expect(existsSync(path('data'))).toBe(false)
    writeFileSync(path('data'), content)
    expect((await create('')).err).toMatch("requires 'preallocation=metadata' or 'data_file_raw=on'")
    expect((await create(',preallocation=full')).err).toMatch('would overwrite')
    expect(new Uint8Array(readFileSync(path('data')))).toEqual(content)
    expect(existsSync(path('image'))).toBe(false)
  })

  it('leaves it where the image cannot be made', async () => {
    writeFileSync(path('data'), content)
    const line = `data_file=${path('data')},keep_data_file=on,data_file_raw=on`
    const failed = await runOurs(['create', '-q', '-f', 'qcow2', '-o', line, path('none/image'), '64k'])
    expect(failed.status).toBe(1)
    expect(new Uint8Array(readFileSync(path('data')))).toEqual(content)
  })

  it('is not listed by the help of -o, which is that of QEMU 7.2', async () => {
    expect((await runOurs(['create', '-f', 'qcow2', '-o', 'help'])).out).not.toContain('keep_data_file')
  })
})
