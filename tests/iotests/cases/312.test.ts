import { iotest } from '../src/harness.ts'

const K64 = 0x10000

iotest(
  '312',
  'where all children of a quorum have zeroes, so has the quorum',
  { formats: ['qcow2'], groups: ['auto', 'quick'], unsupportedOptions: ['cluster_size', 'data_file'] },
  async (t) => {
    const images = await Promise.all(
      ['0', '1', '2'].map((name) => t.create({ name, size: '10M', options: { cluster_size: '64k' } })),
    )
    const options = ['driver=raw', 'file.driver=quorum', 'file.vote-threshold=2']
      .concat(
        images.flatMap(({ path }, i) => [
          `file.children.${i}.driver=${t.format}`,
          `file.children.${i}.file.filename=${path}`,
        ]),
      )
      .join(',')
    const onAll = async (command: (clusters: number) => string): Promise<void> => {
      for (const [i, clusters] of [1, 3, 2].entries()) await images[i]!.io(command(clusters))
    }
    const mapped = async () => {
      const { text } = await t.img(['map', '--output=json', '--image-opts', options])
      return (JSON.parse(text) as { start: number; length: number; zero: boolean }[])
        .filter(({ zero }) => !zero)
        .map(({ start, length }) => [start / K64, length / K64])
    }
    const onQuorum = async (command: string): Promise<void> =>
      t.equal((await t.io(['-c', `open -o ${options}`, '-c', command])).code, 0)

    t.equal(await mapped(), [])
    await onAll((clusters) => `write -P 0 64k ${clusters * K64}`)
    await onQuorum('write -P 0 1M 256k')
    await onAll((clusters) => `write -z ${0x110000} ${clusters * K64}`)
    await onAll((clusters) => `write -z ${0x150000} ${clusters * K64}`)
    await images[0]!.io(`write -P 0 ${0x200000} ${K64}`)
    await images[1]!.io(`write -z ${0x200000} ${3 * K64}`)
    await images[2]!.io(`write -P 0 ${0x200000} ${2 * K64}`)
    await onQuorum(`write -P 1 ${0x250000} 64k`)
    await onQuorum(`read -P 1 ${0x250000} 64k`)
    await onQuorum(`write -z ${0x250000} 64k`)
    await onQuorum(`read -P 0 ${0x250000} 64k`)
    // Data of one child is data of all.
    t.equal(await mapped(), [
      [1, 3],
      [16, 1],
      [18, 2],
      [32, 2],
    ])
  },
)
