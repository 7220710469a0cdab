import { iotest } from '../src/harness.ts'
import { readHeader } from '../src/qcow2-bytes.ts'

const BACKING_FORMAT = 0xe2792aca

iotest(
  '114',
  'a backing format that no driver has',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'cluster_size=512'],
  },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '64M' })
    await base.io('write -P 0x21 0 64k')
    const image = await t.create({ name: 'top.qcow2', size: '64M', backing: base })

    // 'qcow2' becomes 'qcowX' in the extension
    const header = await readHeader(image.path)
    const before = header.extensions.slice(
      0,
      header.extensions.findIndex(({ type }) => type === BACKING_FORMAT),
    )
    const at = before.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, header.headerLength)
    await image.poke(at + 8 + 4, [0x58])

    const refused = await image.tryIo(['read 0 4k'])
    t.equal(refused.code, 1)
    t.equal(
      t.tidy(refused.text),
      "qemu-io: can't open device DIR/top.qcow2: Could not open backing file: Unknown driver 'qcowX'\n",
    )
    await image.io([`open -o backing.driver=qcow2 ${image.path}`, 'read -P 0x21 0 64k'], { noFile: true })
    const run = await t.img(['info', '-f', 'qcow2', image.path])
    t.equal(run.code, 0)
    t.match(run.text, 'backing file format: qcowX\n')
  },
)
