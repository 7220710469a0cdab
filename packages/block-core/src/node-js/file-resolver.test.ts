import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cow, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { ImageResolver } from '../contract/image-resolver.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { forwardOps } from '../drivers/pass-through.ts'
import { openNode } from '../open/open.ts'
import { file } from './file.ts'
import { nodeHost } from './file-resolver.ts'
import { ScratchFiles } from './scratch-files.ts'

const resolver = nodeHost()
const EACCES = { code: 'EACCES' }

describe('nodeHost', () => {
  it('finds a backing file beside the image that names it', async () => {
    expect(await resolver.resolve({ filename: 'base', driver: 'raw' }, '/images/disk', 'backing')).toEqual({
      driver: 'raw',
      filename: '/images/base',
    })
  })

  it('leaves the format open where the image names none', async () => {
    expect(await resolver.resolve({ filename: 'base' }, 'disk', 'backing')).toEqual({ filename: 'base' })
  })

  it('follows a backing file anywhere', async () => {
    const filename = 'json:{"driver":"null-co"}'
    expect(await resolver.resolve({ filename }, '', 'backing')).toEqual({ filename })
  })

  it('takes the name of a data file for nothing but a path', async () => {
    expect(await resolver.resolve({ filename: 'json:{}' }, '/images/disk', 'data-file')).toEqual({
      driver: 'file',
      filename: './json:{}',
    })
    expect(await resolver.resolve({ filename: 'file:/etc/passwd' }, '/images/disk', 'data-file')).toEqual({
      driver: 'file',
      filename: './file:/etc/passwd',
    })
    expect(await resolver.resolve({ filename: 'data' }, '/images/disk', 'data-file')).toEqual({
      driver: 'file',
      filename: 'data',
    })
  })

  it('refuses an empty name', async () => {
    await expect(resolver.resolve({ filename: '' }, '/images/disk', 'backing')).rejects.toMatchObject({
      code: 'EINVAL',
    })
    await expect(resolver.resolve({ filename: '' }, '/images/disk', 'data-file')).rejects.toMatchObject({
      code: 'EINVAL',
    })
  })

  it('opens one role alone, or nothing, where it is told so', async () => {
    const ask = (allow: 'none' | 'backing' | 'data-file', role: 'backing' | 'data-file') =>
      nodeHost({ allow }).resolve({ filename: 'x' }, '/images/disk', role)
    await expect(ask('none', 'backing')).rejects.toMatchObject({
      ...EACCES,
      message: "the image refers to 'x', and a backing file is not allowed",
    })
    await expect(ask('none', 'data-file')).rejects.toMatchObject(EACCES)
    await expect(ask('backing', 'data-file')).rejects.toMatchObject(EACCES)
    await expect(ask('data-file', 'backing')).rejects.toMatchObject(EACCES)
    expect(await ask('backing', 'backing')).toEqual({ filename: '/images/x' })
    expect(await ask('data-file', 'data-file')).toEqual({ driver: 'file', filename: 'x' })
  })
})

describe('nodeHost confined to a directory', () => {
  const scratch = new ScratchFiles()
  const home = join(scratch.directory, 'home')
  const outside = join(scratch.directory, 'outside')
  const image = join(home, 'disk')
  let confined: ImageResolver
  beforeAll(() => {
    mkdirSync(join(home, 'deep'), { recursive: true })
    mkdirSync(outside)
    mkdirSync(join(scratch.directory, 'home-of-another'))
    for (const path of ['home/base', 'home/deep/base', 'home/json:{}', 'outside/secret', 'home-of-another/x'])
      writeFileSync(join(scratch.directory, path), 'secret')
    symlinkSync(join(outside, 'secret'), join(home, 'link'))
    symlinkSync(outside, join(home, 'directory'))
    symlinkSync('../base', join(home, 'deep', 'good'))
    symlinkSync('loop', join(home, 'loop'))
    linkSync(join(home, 'base'), join(home, 'hard'))
    symlinkSync(home, join(scratch.directory, 'way-in'))
    confined = nodeHost({ directory: join(scratch.directory, 'way-in') })
  })
  afterAll(() => scratch.remove())
  const backing = (filename: string, parent = image) => confined.resolve({ filename }, parent, 'backing')

  it('opens what lies in it, by the path that was judged', async () => {
    const base = { file: { driver: 'file', filename: join(home, 'base') } }
    for (const name of ['base', './deep/../base', join(home, 'base'), 'deep/good', '../way-in/base'])
      expect(await backing(name)).toEqual(base)
    expect(await backing('base', join(home, 'deep', 'top'))).toEqual({
      file: { driver: 'file', filename: join(home, 'deep', 'base') },
    })
    expect(await confined.resolve({ filename: 'base', driver: 'raw' }, image, 'backing')).toEqual({
      driver: 'raw',
      ...base,
    })
    const data = relative('.', join(home, 'base'))
    expect(await confined.resolve({ filename: data, driver: 'file' }, image, 'data-file')).toEqual({
      driver: 'file',
      filename: join(home, 'base'),
    })
  })

  it.each([
    '../outside/secret',
    'deep/../../outside/secret',
    'link',
    'directory/secret',
    'deep/../directory/secret',
    '/etc/passwd',
    '..',
    '.',
    '../home-of-another/x',
  ])('lets no name out by %s', async (name) => {
    await expect(backing(name)).rejects.toMatchObject(EACCES)
    const path = relative('.', resolve(home, name))
    await expect(confined.resolve({ filename: path }, image, 'data-file')).rejects.toMatchObject(EACCES)
  })

  it('opens an extent as a plain file beside the image that names it', async () => {
    const extent = (filename: string) => confined.resolve({ filename }, image, 'extents.0')
    expect(await extent('base')).toEqual({ driver: 'file', filename: join(home, 'base') })
    await expect(extent('../outside/secret')).rejects.toMatchObject(EACCES)
    await expect(
      nodeHost({ allow: 'backing' }).resolve({ filename: 'base' }, image, 'extents.0'),
    ).rejects.toMatchObject({ message: "the image refers to 'base', and an extent is not allowed" })
  })

  it('takes a name for a path where there is such a file', async () => {
    expect(await backing('json:{}')).toEqual({ file: { driver: 'file', filename: join(home, 'json:{}') } })
  })

  it('finds the file that json: and file: name, beside the image', async () => {
    const base = { driver: 'file', filename: join(home, 'base') }
    const json = (options: object): string => `json:${JSON.stringify(options)}`
    for (const name of ['file:base', `file:${join(home, 'base')}`, 'file:deep/../base'])
      expect(await backing(name)).toEqual({ file: base })
    for (const filename of ['base', './base', join(home, 'base')]) {
      const file = { driver: 'file', filename }
      expect(await backing(json({ driver: 'qcow2', file }))).toEqual({ driver: 'qcow2', file: base })
      expect(await backing(json({ driver: 'qcow2', file: { filename } }))).toEqual({
        driver: 'qcow2',
        file: base,
      })
      expect(await backing(json({ 'file.driver': 'file', 'file.filename': filename }))).toEqual({
        file: base,
      })
      expect(await backing(json({ driver: 'raw', filename: `file:${filename}` }))).toEqual({
        driver: 'raw',
        file: base,
      })
      expect(await backing(json(file))).toEqual(base)
    }
    // The format in the header wins, as in QEMU.
    const filename = json({ driver: 'qcow2', file: { driver: 'file', filename: 'base' } })
    expect(await confined.resolve({ filename, driver: 'raw' }, image, 'backing')).toEqual({
      driver: 'raw',
      file: base,
    })
  })

  it.each([
    ['nbd:localhost:10809', "only files may be opened, not what the protocol 'nbd' has"],
    ['fat:/etc', "only files may be opened, not what the protocol 'fat' has"],
    ['https://example.org/base', "only files may be opened, not what the protocol 'https' has"],
    ['host_device:/dev/sda', "only files may be opened, not what the protocol 'host_device' has"],
    ['C:\\base', "only files may be opened, not what the protocol 'C' has"],
    ['json:{"driver":"null-co"}', "the driver 'null-co' opens no file"],
    ['json:{"driver":"nbd","host":"example.org"}', "its option 'host' is more than a file and its format"],
    [
      'json:{"driver":"qcow2","file":{"driver":"host_device","filename":"base"}}',
      "the driver 'host_device' opens no file",
    ],
    [
      'json:{"driver":"qcow2","backing":{"driver":"file","filename":"base"},"file":{"filename":"base"}}',
      "its option 'backing' is more than a file and its format",
    ],
    [
      'json:{"driver":"qcow2","file":{"driver":"file","filename":"base","locking":"off"}}',
      "its option 'file.locking' is more than a file and its format",
    ],
    ['json:{"driver":"qcow2","filename":"json:{}"}', 'its file is given as JSON once more'],
    ['json:{"file":"base"}', "its option 'file' is no file"],
    ['json:{"driver":7,"filename":"base"}', "its option 'driver' is no word"],
    ['json:{"driver":"file","filename":"base\\u0000"}', 'no host can have such a file'],
    ['json:{"driver"', 'its JSON is wrong: JSON parse error, premature EOI'],
    ['json:[]', 'its JSON is no object'],
  ])('refuses %s for what it is', async (name, why) => {
    await expect(backing(name)).rejects.toMatchObject({
      ...EACCES,
      message: `the image refers to '${name}', and ${why}`,
    })
  })

  it.each([
    ['file:/etc/passwd'],
    ['file:../outside/secret'],
    ['file:link'],
    ['json:{"driver":"file","filename":"../outside/secret"}'],
    ['json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'],
    ['json:{"driver":"raw","filename":"file:directory/secret"}'],
  ])('lets no name out by %s', async (name) => {
    await expect(backing(name)).rejects.toMatchObject({
      ...EACCES,
      message: expect.stringContaining('only files in'),
    })
  })

  it('takes a URL for its directory', async () => {
    const resolver = nodeHost({ directory: pathToFileURL(home) })
    expect(await resolver.resolve({ filename: 'base' }, image, 'backing')).toMatchObject({
      file: { filename: join(home, 'base') },
    })
    expect(() => nodeHost({ directory: new URL('https://example.org/home') })).toThrow(TypeError)
  })

  it('says of a loop of links what the C library says', async () => {
    await expect(backing('loop')).rejects.toMatchObject({
      code: 'ELOOP',
      message: "Could not open 'loop': Too many levels of symbolic links",
    })
    await expect(backing('x'.repeat(300))).rejects.toMatchObject({ code: 'ENAMETOOLONG' })
  })

  it('says what is wrong with a name that leads nowhere', async () => {
    await expect(backing('nothing')).rejects.toMatchObject({
      code: 'ENOENT',
      message: "Could not open 'nothing': No such file or directory",
    })
    await expect(backing('')).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(backing('base\0')).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(backing('loop')).rejects.toMatchObject({ name: 'BlockError' })
    await expect(backing('base', 'json:{"driver":"null-co"}')).rejects.toMatchObject(EACCES)
    await expect(backing('base', '')).rejects.toMatchObject(EACCES)
  })

  it('is asked for every layer of a chain', async () => {
    /** A format whose file is the name of its backing file. */
    const named = defineDriver({
      name: 'named',
      kind: 'format',
      children: { file: storage, backing: cow },
      async open(context) {
        const child = await context.requireChild('file')
        const bytes = new Uint8Array(child.size)
        await child.read(0, bytes)
        const filename = new TextDecoder().decode(bytes)
        if (filename !== 'secret') await context.child('backing', { filename, driver: 'named' })
        return forwardOps(child)
      },
    })
    writeFileSync(join(home, 'top'), 'deep/middle')
    writeFileSync(join(home, 'deep', 'middle'), 'good')
    writeFileSync(join(home, 'deep', 'evil'), '../link')
    writeFileSync(join(home, 'bad'), 'deep/evil')
    const environment = { registry: new DriverRegistry([file, named]), host: confined }
    const node = await openNode(environment, { driver: 'named', filename: join(home, 'top') })
    expect(node.backing?.node.backing?.filename).toBe(join(home, 'base'))
    await node.close()
    await expect(
      openNode(environment, { driver: 'named', filename: join(home, 'bad') }),
    ).rejects.toMatchObject(EACCES)
    linkSync(join(home, 'top'), join(home, 'deep', 'top-again'))
    writeFileSync(join(home, 'deep', 'middle'), 'top-again')
    await expect(
      openNode(environment, { driver: 'named', filename: join(home, 'top'), readOnly: true }),
    ).rejects.toThrow(/top-again' creates an infinite loop\.$/)
  })
})
