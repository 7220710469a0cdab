import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'

iotest(
  '043',
  'backing files that lead back to themselves',
  { formats: ['qcow2', 'qed'], groups: ['rw', 'backing', 'auto'] },
  async (t) => {
    const size = '128M'
    const point = (image: Image, to: Image) =>
      image.img(['rebase', '-u', '-f', t.format, '-b', to.path, '-F', t.format, image.path])
    const chainOf = (image: Image) =>
      t.img(['info', '--backing-chain', '--output=json', '-f', t.format, image.path])
    const isLoop = async (image: Image, at: string): Promise<void> => {
      const run = await chainOf(image)
      t.equal(
        [run.code, t.tidy(run.text)],
        [1, `qemu-img: Backing file 'DIR/${at}' creates an infinite loop.\n`],
      )
    }
    await t.section('an image on itself', async () => {
      const image = await t.create({ name: 'self', size })
      await point(image, image)
      await isLoop(image, 'self')
    })
    await t.section('a backing file on its overlay', async () => {
      const base = await t.create({ name: 'base', size })
      const image = await t.create({ name: 'overlay', size, backing: base })
      await point(base, image)
      await isLoop(image, 'overlay')
    })
    await t.section('further down', async () => {
      const one = await t.create({ name: 'one', size })
      const two = await t.create({ name: 'two', size, backing: one })
      const three = await t.create({ name: 'three', size, backing: two })
      await point(one, two)
      await isLoop(three, 'two')
    })
    await t.section('a chain that ends is listed', async () => {
      const one = await t.create({ name: '1', size })
      const two = await t.create({ name: '2', size, backing: one })
      const three = await t.create({ name: '3', size, backing: two })
      const { code, text } = await chainOf(three)
      const names = (JSON.parse(text) as { filename: string }[]).map(({ filename }) => filename)
      t.equal([code, names], [0, [three.path, two.path, one.path]])
    })
  },
)
