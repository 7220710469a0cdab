import { iotest } from '../src/harness.ts'

iotest(
  '007',
  'ten internal snapshots with a state of the machine in each',
  {
    formats: ['qcow2'],
    groups: ['snapshot', 'auto'],
    // Ten snapshots share a cluster, which a count of one bit cannot say. Large clusters only take their time.
    unsupportedOptions: ['refcount_bits=1', 'data_file', 'cluster_size=2M'],
  },
  async (t) => {
    const image = await t.create({ size: '1M' })
    const snapshots = Array.from({ length: 10 }, (_, i) => ({ tag: `test-${i + 1}`, byte: i + 1 }))
    for (const { tag, byte } of snapshots) {
      await image.io([`write -P ${byte + 100} ${byte * 4096} 4096`, `write -b -P ${byte} 0 128k`])
      await image.img(['snapshot', '-c', tag, image.path])
    }
    await image.isSound()
    const listed = (await image.info())['snapshots'] as readonly { id: string; name: string }[]
    t.equal(
      listed.map(({ id, name }) => [id, name]),
      snapshots.map(({ tag }, i) => [String(i + 1), tag]),
    )
    await t.section('each brings back its disk and its state', async () => {
      for (const { tag, byte } of [...snapshots].reverse()) {
        await image.img(['snapshot', '-a', tag, image.path])
        await image.io([
          `read -b -P ${byte} 0 128k`,
          ...snapshots.map(
            (each) => `read -P ${each.byte <= byte ? each.byte + 100 : 0} ${each.byte * 4096} 4096`,
          ),
        ])
      }
    })
    await t.section('and each leaves nothing behind', async () => {
      for (const { tag } of snapshots) await image.img(['snapshot', '-d', tag, image.path])
      t.equal((await image.info())['snapshots'], undefined)
      await image.isSound()
    })
  },
)
