import { iotest } from '../src/harness.ts'

iotest(
  '104',
  'sizes are rounded up to sectors',
  { formats: ['raw', 'qcow2', 'qed'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    for (const [asked, given] of [
      [1024, 1024],
      [1234, 1536],
      [1, 512],
    ] as const) {
      const image = await t.create({ size: asked })
      t.equal((await image.info())['virtual-size'], given)
      const human = await t.img(['info', '-f', t.format, image.path])
      const shown = given >= 1024 ? `${given / 1024} KiB` : `${given} B`
      t.match(human.text, `virtual size: ${shown} (${given} bytes)\n`)
      t.match(human.text, `file format: ${t.format}\n`)
    }
  },
)
