import { iotest } from '../src/harness.ts'

iotest(
  '081',
  'a quorum of three, what it corrects, and its mode blkverify',
  { formats: ['raw'], groups: ['rw', 'quick'] },
  async (t) => {
    const names = ['1', '2', '3']
    const [one, two, three] = await Promise.all(names.map((name) => t.create({ name, size: '1M' })))
    const images = [one!, two!, three!]
    const quorum = (options: string, count = 3): string =>
      ['driver=raw', 'file.driver=quorum', options]
        .concat(
          images
            .slice(0, count)
            .flatMap(({ path }, i) => [
              `file.children.${i}.driver=raw`,
              `file.children.${i}.file.filename=${path}`,
            ]),
        )
        .join(',')
    const run = (options: string, ...commands: string[]) =>
      t.io([options, ...commands].flatMap((line, i) => ['-c', i === 0 ? `open -o ${line}` : line]))
    const vote = quorum('file.vote-threshold=2')

    t.equal((await run(vote, 'write -P 0x32 0 1M')).code, 0)
    for (const image of images) await image.io('read -P 0x32 0 1M')

    await two!.io('write -P 0x42 0 1M')
    t.equal((await run(vote, 'read -P 0x32 0 1M')).code, 0)
    await two!.io('read -P 0x42 0 1M')
    t.equal((await run(`${vote},file.rewrite-corrupted=on`, 'read -P 0x32 0 1M')).code, 0)
    await two!.io('read -P 0x32 0 1M')

    await one!.io('write -P 0x41 0 1M')
    await two!.io('write -P 0x42 0 1M')
    const broken = await run(vote, 'read -P 0x32 0 1M')
    t.equal([broken.code, broken.text], [1, 'read failed: Input/output error\n'])

    const verify = 'file.vote-threshold=2,file.blkverify=on'
    const differing = await run(quorum(verify, 2), 'read -P 0x32 0 1M', 'length')
    t.equal(
      [differing.code, differing.text],
      [1, 'quorum: offset=0 bytes=1048576 contents mismatch at offset 0\n'],
    )
    await one!.io('write -P 0x32 0 1M')
    await two!.io('write -P 0x32 0 1M')
    t.equal((await run(quorum(verify, 2), 'read -P 0x32 0 1M')).code, 0)
    t.match(
      (await run(quorum(verify))).text,
      "can't open: blkverify=on can only be set if there are exactly two files and vote-threshold is 2\n",
    )
  },
)
