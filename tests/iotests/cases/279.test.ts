import { iotest } from '../src/harness.ts'

iotest(
  '279',
  'info along a backing chain',
  { formats: ['qcow2'], groups: ['backing', 'auto', 'quick'] },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '64M' })
    const middle = await t.create({ name: 'middle.qcow2', backing: base })
    const top = await t.create({ name: 'top.qcow2', backing: middle })
    interface Entry {
      readonly filename: string
      readonly 'virtual-size': number
      readonly 'backing-filename'?: string
    }
    for (const name of [
      [top.path],
      ['--image-opts', `driver=qcow2,file.driver=file,file.filename=${top.path}`],
    ]) {
      const run = await t.img(['info', '--backing-chain', '--output=json', ...name])
      t.equal(run.code, 0)
      const chain = JSON.parse(run.text) as Entry[]
      t.equal(
        chain.map((entry) => [entry.filename, entry['backing-filename']]),
        [
          [top.path, middle.path],
          [middle.path, base.path],
          [base.path, undefined],
        ],
      )
      t.equal(
        chain.every((entry) => entry['virtual-size'] === 64 * 1024 * 1024),
        true,
      )
      const human = await t.img(['info', '--backing-chain', ...name])
      t.equal(
        human.text.split('\n').filter((line) => line.startsWith('image: ')),
        [top, middle, base].map((image) => `image: ${image.path}`),
      )
      t.equal(human.text.split('\n\n').length, 3, 'an empty line between images')
    }
  },
)
