import { copyFile } from 'node:fs/promises'
import { testedFormat } from '../../support/formats.ts'
import { iotest } from '../src/harness.ts'

iotest('048', 'compare', { formats: ['generic'], groups: ['auto', 'quick'] }, async (t) => {
  const image = await t.create({ name: 'a', size: '16M' })
  const other = await t.create({ name: 'b', size: '16M' })
  const compare = async (...args: string[]): Promise<[number, string[]]> => {
    const run = await t.img(['compare', '-f', t.format, '-F', t.format, ...args, image.path, other.path])
    // QEMU's two streams have no order between them
    return [run.code, run.text.trimEnd().split('\n').sort()]
  }
  const identical = [0, ['Images are identical.']]
  t.equal(await compare(), identical)

  await t.section('the same data', async () => {
    for (const each of [image, other]) await each.io(['write -P 0x6f 512 64k', 'write -P 0x11 3M 64k'])
    t.equal(await compare(), identical)
  })
  await t.section('zeroes and nothing are the same', async () => {
    await image.io('write -z 8M 64k')
    await other.io('write -P 0 9M 64k')
    t.equal(await compare(), identical)
  })
  await t.section('a different byte', async () => {
    await image.io('write -P 0x12 3100k 1')
    t.equal(await compare(), [1, ['Content mismatch at offset 3174400!']])
    t.equal(await compare('-q'), [1, ['']])
    await image.io('write -P 0x11 3100k 1')
    t.equal(await compare(), identical)
  })
  const grows = testedFormat(t.format).resizes !== 'not at all'
  await t.section('a longer image', async () => {
    if (!grows) return
    t.equal((await t.img(['resize', '-f', t.format, image.path, '17M'])).code, 0)
    t.equal(await compare(), [0, ['Images are identical.', 'Warning: Image size mismatch!']])
    t.equal(await compare('-s'), [1, ['Strict mode: Image size mismatch!']])
    await image.io('write -P 0x33 16m 512')
    t.equal(await compare(), [1, ['Content mismatch at offset 16777216!', 'Warning: Image size mismatch!']])
  })
  await t.section('other formats', async () => {
    const raw = await t.create({ name: 'raw', size: '1M', format: 'raw', plain: true })
    await raw.io('write -P 7 512k 64k')
    const same = await t.create({ name: 'same', size: '1M' })
    await same.io('write -P 7 512k 64k')
    t.equal((await t.img(['compare', '-f', 'raw', '-F', t.format, raw.path, same.path])).code, 0)
    await copyFile(raw.path, t.path('copy'))
    t.equal((await t.img(['compare', '-f', 'raw', '-F', 'raw', raw.path, t.path('copy')])).code, 0)
    const missing = await t.img(['compare', '-f', 'raw', raw.path, t.path('missing')])
    t.equal(missing.code, 2)
  })
})
