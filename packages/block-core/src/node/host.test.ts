import { describe, expect, it } from 'vitest'
import { nodeHost } from './host.ts'

const host = nodeHost()

describe('nodeHost', () => {
  it('finds a backing file beside the image that names it', async () => {
    expect(await host.resolve({ filename: 'base', driver: 'raw' }, '/images/disk', 'backing')).toEqual({
      driver: 'raw',
      filename: '/images/base',
    })
  })

  it('leaves the format open where the image names none', async () => {
    expect(await host.resolve({ filename: 'base' }, 'disk', 'backing')).toEqual({ filename: 'base' })
  })

  it('follows a backing file anywhere', async () => {
    const filename = 'json:{"driver":"null-co"}'
    expect(await host.resolve({ filename }, '', 'backing')).toEqual({ filename })
  })

  it('takes the name of a data file for nothing but a path', async () => {
    expect(await host.resolve({ filename: 'json:{}' }, '/images/disk', 'data-file')).toEqual({
      driver: 'file',
      filename: './json:{}',
    })
    expect(await host.resolve({ filename: 'file:/etc/passwd' }, '/images/disk', 'data-file')).toEqual({
      driver: 'file',
      filename: './file:/etc/passwd',
    })
    expect(await host.resolve({ filename: 'data' }, '/images/disk', 'data-file')).toEqual({
      driver: 'file',
      filename: 'data',
    })
  })

  it('refuses an empty name', async () => {
    await expect(host.resolve({ filename: '' }, '/images/disk', 'backing')).rejects.toMatchObject({
      code: 'EINVAL',
    })
    await expect(host.resolve({ filename: '' }, '/images/disk', 'data-file')).rejects.toMatchObject({
      code: 'EINVAL',
    })
  })
})
