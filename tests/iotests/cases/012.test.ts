import { chmod } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest('012', 'a read-only image file', { formats: ['generic'], groups: ['auto', 'quick'] }, async (t) => {
  const image = await t.create({ size: '128M' })
  await image.io('write -P 0x31 0 512')
  await chmod(image.path, 0o444)
  await image.io('read -P 0x31 0 512', { readOnly: true })
  const refused = await image.tryIo('write 0 512', { readOnly: true })
  t.equal(refused.lines, ['qemu-io: Block node is read-only'])
  t.equal(refused.code, 1)
})
