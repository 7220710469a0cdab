import { iotest } from '../src/harness.ts'

const CLUSTER = 64 * 1024

iotest(
  '017',
  'reads through to the backing file',
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size=512'],
  },
  async (t) => {
    for (const format of ['qcow2', 'raw']) {
      await t.section(`a ${format} backing file`, async () => {
        const base = await t.create({ name: `base.${format}`, size: '6G', format })
        const overlay = async () => t.create({ name: `over-${format}.qcow2`, size: '6G', backing: base })
        const starts = [0, 4 * 1024 ** 3]
        const odd = (start: number) => Array.from({ length: 32 }, (_, i) => start + i * 1024)
        await base.io(
          starts.flatMap((start) => [
            ...odd(start).map((at) => `writev -P 0x21 ${at} 512`),
            `writev -P 0x22 ${start + CLUSTER} ${CLUSTER}`,
          ]),
        )
        const image = await overlay()
        await image.io(
          starts.flatMap((start) => [
            ...odd(start).map((at) => `writev -P 0x31 ${at + 512} 512`),
            `writev -P 0x32 ${start + 2 * CLUSTER} ${CLUSTER}`,
          ]),
        )
        await image.io(
          starts.flatMap((start) => [
            ...odd(start).flatMap((at) => [`readv -P 0x21 ${at} 512`, `readv -P 0x31 ${at + 512} 512`]),
            `readv -P 0x22 ${start + CLUSTER} ${CLUSTER}`,
            `readv -P 0x32 ${start + 2 * CLUSTER} ${CLUSTER}`,
            `readv -P 0 ${start + 4 * CLUSTER} ${CLUSTER}`,
          ]),
        )
        await image.isSound()
      })
    }
  },
)
