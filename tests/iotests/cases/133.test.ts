import { iotest } from '../src/harness.ts'

iotest(
  '133',
  'what reopen may change and what not',
  { formats: ['qcow2'], groups: ['auto', 'quick'] },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '64M' })
    const image = await t.create({ size: '64M', backing: base })
    const refused = async (command: string, message: string) => {
      const result = await image.tryIo(command)
      t.equal([result.text, result.code], [`qemu-io: ${message}\n`, 1], command)
    }
    const accepted = async (commands: readonly string[]) =>
      t.equal((await image.io(commands)).text, '', commands.join('; '))

    for (const node of ['', 'file.', 'backing.']) {
      await refused(`reopen -o ${node}node-name=foo`, "Cannot change the option 'node-name'")
      const open = `open -o ${node}node-name=foo ${image.path}`
      for (const reopen of [`reopen -o ${node}node-name=foo`, 'reopen']) {
        const result = await image.tryIo([open, reopen], { noFile: true })
        t.equal([result.text, result.code], ['', 0], `${open}; ${reopen}`)
      }
    }
    await refused('reopen -o driver=raw', "Cannot change the option 'driver'")
    await refused('reopen -o file.driver=qcow2', "Cannot change the option 'driver'")
    await refused('reopen -o backing.driver=file', "Cannot change the option 'driver'")
    await accepted(['reopen -o driver=qcow2'])
    await accepted(['reopen -o file.driver=file'])
    await accepted(['reopen -o backing.driver=qcow2'])

    await t.section('an image opened by options that are no strings', async () => {
      const result = await t.io([
        '-f',
        'null-co',
        '-c',
        'reopen',
        '-c',
        'info',
        "json:{'driver': 'null-co', 'size': 65536}",
      ])
      t.equal(result.text, 'format name: null-co\nformat name: null-co\n')
    })
    await t.section('switches against options of the same meaning', async () => {
      await refused('reopen -r -o read-only=on', "Cannot set both -r/-w and 'read-only'")
      await refused('reopen -w -o read-only=on', "Cannot set both -r/-w and 'read-only'")
      for (const options of [
        '-c none -o cache.direct=on',
        '-c writeback -o cache.direct=on',
        '-c directsync -o cache.no-flush=on',
      ]) {
        await refused(`reopen ${options}`, 'Cannot set both -c and the cache options')
      }
    })
    await t.section('values that are no booleans', async () => {
      for (const option of ['read-only', 'cache.no-flush', 'cache.direct', 'auto-read-only']) {
        await refused(`reopen -o ${option}=foo`, `Parameter '${option}' expects 'on' or 'off'`)
      }
    })
  },
)
