import { writeFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '251',
  'converting what can still be read',
  {
    formats: ['raw', 'qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'cluster_size'],
  },
  async (t) => {
    const source = await t.create({ name: 'source', size: '1M' })
    await source.io('write -P 66 0 1M')
    const target = t.image('target')
    const failing = (rules: string): string =>
      `json:${JSON.stringify({
        driver: t.format,
        file: { driver: 'blkdebug', config: rules, image: { driver: 'file', filename: source.path } },
      })}`
    const rules = async (name: string, text: string): Promise<string> => {
      const path = t.path(name)
      await writeFile(path, `[inject-error]\nevent = "none"\nerrno = "5"\nonce = "off"\n${text}`)
      return failing(path)
    }
    /** The host offset of guest byte 512 * 100, in sectors. */
    const [run] = await source.map()
    const bad = (run?.offset ?? 0) / 512 + 100

    await t.section('without the sectors that cannot be read', async () => {
      const name = await rules('reads', `iotype = "read"\nsector = "${bad}"\n`)
      const refused = await t.img(['convert', '-O', t.format, name, target.path])
      t.equal(
        [refused.code, refused.text],
        [1, 'qemu-img: error while reading at byte 0: Input/output error\n'],
      )
      const saved = await t.img(['convert', '--salvage', '-O', t.format, name, target.path])
      t.equal(
        [saved.code, saved.text],
        [0, 'qemu-img: warning: error while reading offset 51200: Input/output error\n'],
      )
      await target.io([
        'read -P 66 0 51200',
        'read -P 0 51200 512',
        'read -P 66 51712 50k',
        'read -P 66 512k 512k',
      ])
      await target.isSound()
      const quiet = await t.img(['convert', '-q', '--salvage', '-O', t.format, name, target.path])
      t.equal([quiet.code, quiet.text], [0, ''])
    })

    await t.section('but not together with copying inside the host', async () => {
      const run = await t.img(['convert', '--salvage', '-C', '-O', t.format, source.path, target.path])
      t.equal([run.code, run.text], [1, 'qemu-img: Cannot use copy offloading in salvaging mode\n'])
    })
  },
)
