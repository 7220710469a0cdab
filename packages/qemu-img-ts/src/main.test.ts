import { DriverRegistry, denyHost, memory, nullCo } from '@vmblock/block-core'
import { VERSION } from '@vmblock/cli'
import { raw } from '@vmblock/raw'
import { describe, expect, it } from 'vitest'
import manifest from '../package.json' with { type: 'json' }
import { commands, missingCommands } from './commands/index.ts'
import { runOurs } from './testing/two-programs.ts'

const services = { registry: new DriverRegistry([raw, memory, nullCo]), host: denyHost }
const run = (...words: string[]) => runOurs(words, services)

describe('the program', () => {
  it('says who it is, and which version', async () => {
    expect(VERSION).toBe(manifest.version)
    for (const option of ['-V', '--vers'])
      expect(await run(option, 'foo')).toEqual({
        out: `qemu-img-ts version ${VERSION} (vmblock)\n`,
        err: '',
        status: 0,
      })
  })

  it('explains every subcommand it has and none that it has not, and lists the formats last', async () => {
    const { out, status } = await run('info', '--help')
    expect(status).toBe(0)
    const listed = [...out.matchAll(/^ {2}([a-z]+) \[/gm)].map(([, name]) => name)
    expect(listed).toEqual(Object.keys(commands))
    expect(listed.filter((name) => missingCommands.has(name!))).toEqual([])
    expect(out).toMatch(/\nSupported formats: memory null-co raw\n$/)
  })

  it.each([...missingCommands])('knows %s, and says that it is not there', async (name) => {
    expect(await run(name, '--anything')).toEqual({
      out: '',
      err: `qemu-img: command '${name}' is not available yet\n`,
      status: 1,
    })
  })

  it('calls nothing it inherits a subcommand', async () => {
    expect((await run('constructor')).err).toMatch(/^qemu-img: Command not found: constructor\n/)
  })

  it('works on any drivers it is given', async () => {
    expect(
      await run('compare', '--image-opts', 'driver=memory,size=1M', 'driver=null-co,size=1M'),
    ).toMatchObject({
      out: 'Images are identical.\n',
      err: '',
      status: 0,
    })
  })

  it('opens nothing that an image names where the host refuses', async () => {
    expect(await run('info', 'file:nothing')).toMatchObject({ status: 1, out: '' })
  })

  it('tells a mistake of its own in one line', async () => {
    const broken = { ...services, registry: undefined as unknown as DriverRegistry }
    const { err, status } = await runOurs(['info', 'x'], broken)
    expect(status).toBe(1)
    expect(err).toMatch(/^qemu-img: .*\n$/)
  })
})
