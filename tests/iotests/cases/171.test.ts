import { iotest } from '../src/harness.ts'

const SIZE = 4096

iotest('171', "raw's offset and size", { formats: ['raw'], groups: ['rw', 'quick'] }, async (t) => {
  const image = await t.create({ size: SIZE })
  const windowed = (options: object, commands: readonly string[]) => {
    const json = JSON.stringify({ driver: 'raw', ...options, file: { driver: 'file', filename: image.path } })
    return image.tryIo([`open json:${json}`, ...commands], { noFile: true })
  }
  const bytes = async (offset: number, count: number) => [...(await image.peek(offset, count))]

  for (const { offset, size } of [{ offset: 512 }, { offset: 512, size: 2048 }, { offset: 10, size: 2048 }]) {
    await t.section(`offset ${offset}, size ${size ?? 'to the end'}`, async () => {
      const length = size ?? SIZE - offset
      const options = { offset: String(offset), ...(size === undefined ? {} : { size: String(size) }) }
      const works = async (...commands: string[]) => {
        const result = await windowed(options, commands)
        t.equal([result.code, result.mismatches, result.lines], [0, [], []], commands.join('; '))
      }
      const fails = async (command: string) => {
        const result = await windowed(options, [command])
        const word = command.split(' ')[0]
        t.equal([result.code, result.lines], [1, [`${word} failed: Input/output error`]], command)
      }
      await image.io(`write -P 0 0 ${SIZE}`)
      await works(`write -P 10 0 ${length}`, `read -P 10 0 ${length}`)
      t.equal(await bytes(offset - 2, 4), [0, 0, 10, 10])
      for (const verb of ['write', 'read']) {
        await works(`${verb} ${length - 1} 1`)
        await fails(`${verb} ${length - 1} 2`)
        await fails(`${verb} ${length} 1`)
        await fails(`${verb} ${length + 512} 1`)
        await fails(`${verb}v ${length - 512} 512 512`)
      }
      for (const command of ['write -z', 'discard']) {
        await image.io(`write -P 10 0 ${SIZE}`)
        await works(`${command} 0 512`)
        t.equal(await bytes(offset - 2, 2), [10, 10])
        if (command === 'write -z') t.equal(await bytes(offset, 2), [0, 0])
        await fails(`${command} ${length - 1} 2`)
        await works(`${command} ${length - 2} 2`)
        const behind = Math.min(2, SIZE - offset - length)
        t.equal(await bytes(offset + length, behind), new Array(behind).fill(10))
      }
    })
  }

  await t.section('reopen moves the window', async () => {
    await image.io(`write -P 0 0 ${SIZE}`)
    const result = await windowed({ offset: '512', size: '512' }, [
      'write -P 10 0 512',
      'write -P 10 511 1',
      'write -P 10 512 1',
      'reopen -o driver=raw,offset=1536,size=1024',
      'write -P 10 0 1024',
      'write -P 10 1023 1',
      'write -P 10 1024 1',
    ])
    t.equal(result.lines, Array(2).fill('write failed: Input/output error'))
    t.equal(await bytes(510, 4), [0, 0, 10, 10])
    t.equal(await bytes(1022, 4), [10, 10, 0, 0])
    t.equal(await bytes(1534, 4), [0, 0, 10, 10])
    t.equal(await bytes(2558, 4), [10, 10, 0, 0])
  })
})
