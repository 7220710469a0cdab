import { writeFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '098',
  'errors while emptying the image after a commit',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'data_file', 'cluster_size=512'],
  },
  async (t) => {
    for (const event of ['l1_update', 'empty_image_prepare', 'reftable_update', 'refblock_alloc']) {
      await t.section(event, async () => {
        const base = await t.create({ name: `base-${event}`, size: '64M' })
        const image = await t.create({ name: event, size: '64M', backing: base })
        await image.io('write -P 0x42 0 64k')
        const rules = t.path(`${event}.conf`)
        await writeFile(rules, `[inject-error]\nevent = "${event}"\n`)
        const name = `blkdebug:${rules}:${image.path}`
        const run = await t.img(['commit', name])
        t.equal(run.code, 1)
        t.equal(run.text, `qemu-img: Failed to empty ${name}: Input/output error\n`)
        await image.tryIo('close') // repairs what the interruption left
        await image.isSound()
        await base.isSound()
        await image.io('read -P 0x42 0 64k')
      })
    }
  },
)
