import { copyFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '110',
  'relative backing names are relative to the overlay',
  { formats: ['qcow2'], groups: ['rw', 'backing', 'auto', 'quick'] },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '64M' })
    await base.io('write -P 0x6b 0 64k')
    const image = await t.create({
      name: 'top.qcow2',
      size: '64M',
      backing: 'base.qcow2',
      backingFormat: 'qcow2',
    })
    t.equal((await image.header()).backingFile, 'base.qcow2')
    const plain = { driver: 'file', filename: image.path }
    const names = [
      image.path,
      `json:${JSON.stringify({ driver: 'qcow2', file: plain })}`,
      `json:${JSON.stringify({ driver: 'qcow2', file: { driver: 'blkdebug', image: plain, 'set-state': [{ event: 'read_aio', new_state: 42 }] } })}`,
    ]
    for (const name of names) {
      await image.io([`open ${name}`, 'read -P 0x6b 0 64k'], { noFile: true })
      const run = await t.img(['info', name])
      t.match(t.tidy(run.text), 'backing file: base.qcow2 (actual path: DIR/base.qcow2)\n')
    }
    await t.section('the size of the base is found the same way', async () => {
      const other = await t.create({ name: 'other.qcow2', backing: 'base.qcow2', backingFormat: 'qcow2' })
      t.equal(await other.size(), 64 * 1024 * 1024)
    })
    await t.section('also for a copy of the overlay', async () => {
      const copy = t.image('copy.qcow2')
      await copyFile(image.path, copy.path)
      await copy.io('read -P 0x6b 0 64k', { readOnly: true })
    })
  },
)
