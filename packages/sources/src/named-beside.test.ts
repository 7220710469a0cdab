/** What images may name in a page: nothing that leads out of a directory. */
import { BlockError } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { resolverOf } from './browser.ts'

const resolve = (
  allow: Parameters<typeof resolverOf>[0],
  parent: string,
  filename: string,
  driver?: string,
) => resolverOf(allow).resolve({ filename, driver }, parent, 'backing')

const WEB = 'https://host/disks/over.qcow2'
const OPFS = 'opfs:disks/over.qcow2'

describe('beside an image in a page', () => {
  it.each([
    [WEB, 'base.img', 'https://host/disks/base.img'],
    [WEB, 'more/base.img?x=../..', 'https://host/disks/more/base.img?x=../..'],
    [WEB, 'https://host/disks/base..img', 'https://host/disks/base..img'],
    [OPFS, 'base.img', 'opfs:disks/base.img'],
    ['opfs:over.qcow2', 'base.img', 'opfs:base.img'],
  ])('%s may name %s', async (parent, name, full) => {
    expect(await resolve('directory', parent, name)).toEqual({ filename: full })
    expect(await resolve('directory', parent, name, 'raw')).toEqual({ driver: 'raw', filename: full })
    expect(await resolve('all', parent, name)).toEqual({ filename: full })
  })

  it.each([
    [WEB, '../base.img'],
    [WEB, 'more/../../base.img'],
    [WEB, '%2e%2E/base.img'],
    [WEB, '.%2e%2fbase.img'],
    [WEB, '..\\base.img'],
    [WEB, 'https://host/other/base.img'],
    [WEB, 'https://host.org/disks/base.img'],
    [WEB, 'http://host/disks/base.img'],
    [WEB, 'opfs:disks/base.img'],
    [WEB, 'json:{"driver":"http","url":"https://other/"}'],
    [OPFS, '../base.img'],
    [OPFS, 'opfs:other/base.img'],
    [OPFS, 'https://host/disks/base.img'],
  ])('%s may not name %s, but with what allows all', async (parent, name) => {
    await expect(resolve('directory', parent, name)).rejects.toMatchObject({ code: 'EACCES' })
    await expect(resolve('none', parent, name)).rejects.toMatchObject({ code: 'EACCES' })
    expect(await resolve('all', parent, name)).toHaveProperty('filename')
  })

  it('a directory is given with or without its last slash', async () => {
    for (const directory of ['https://host/base', 'https://host/base/', new URL('https://host/base')]) {
      const name = 'https://host/base/a.img'
      expect(await resolve({ directory }, WEB, name)).toEqual({ filename: name })
      await expect(resolve({ directory }, WEB, 'a.img')).rejects.toMatchObject({ code: 'EACCES' })
      await expect(resolve({ directory }, WEB, 'https://host/basement')).rejects.toMatchObject({
        code: 'EACCES',
      })
    }
  })

  it('an image without a name, or an empty name, means nothing', async () => {
    for (const allow of ['directory', 'all'] as const) {
      await expect(resolve(allow, '', 'base.img')).rejects.toMatchObject({ code: 'EINVAL' })
      await expect(resolve(allow, WEB, '')).rejects.toMatchObject({ code: 'EINVAL' })
      await expect(resolverOf(allow).resolve({ filename: 'data' }, WEB, 'data-file')).rejects.toMatchObject({
        code: 'EACCES',
      })
    }
  })

  it.each([null, 5, 'dir', {}, { directory: 5 }, { directory: 'a' }, { directory: 'opfs:a', more: 1 }, []])(
    'nothing that %o would mean',
    (allow) => {
      expect(() => resolverOf(allow as never)).toThrow(BlockError)
    },
  )
})
