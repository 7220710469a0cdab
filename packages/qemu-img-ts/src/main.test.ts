import { type AnyDriver, BlockError, DriverRegistry, denyHost, memory, nullCo } from '@vmblock/block-core'
import { raw } from '@vmblock/raw'
import { describe, expect, it } from 'vitest'
import manifest from '../package.json' with { type: 'json' }
import { commands } from './commands/index.ts'
import { runOurs } from './testing/two-programs.ts'

const services = { registry: new DriverRegistry([raw, memory, nullCo]), host: denyHost }
const run = (...words: string[]) => runOurs(words, services)

describe('the program', () => {
  it('says what it is, and which version', async () => {
    for (const option of ['-V', '--vers'])
      expect(await run(option, 'foo')).toEqual({
        out: `qemu-img-ts version ${manifest.version} (vmblock)\n`,
        err: '',
        status: 0,
      })
  })

  it('lists every subcommand it has, and the formats last', async () => {
    const { out, status } = await run('--help')
    expect(status).toBe(0)
    const [, list = ''] = /\nCommands;.*\n((?: {2}.*\n)*)/.exec(out)!
    const listed = [...list.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name)
    expect(listed).toEqual(Object.keys(commands))
    expect(out).toMatch(/\nSupported formats: memory null-co raw\n$/)
  })

  it.each(['-h', '--help', '--he'])(
    'explains a subcommand that is given %s, whatever else is given',
    async (option) => {
      const { out, err, status } = await run('info', 'nothing', '-f', 'nonsense', option, '-Z')
      expect([err, status]).toEqual(['', 0])
      expect(out).toMatch(/^Usage: qemu-img-ts info \[options\] filename\n/)
      expect(out).toMatch(/^ {2}-f, --format FMT +the format/m)
    },
  )

  it.each(Object.keys(commands))('explains %s by its name alone, in 80 columns', async (name) => {
    const { out, err, status } = await run(name, '--help')
    expect([err, status]).toEqual(['', 0])
    expect(out).toMatch(new RegExp(`^Usage: qemu-img-ts ${name} .*\\n[A-Z].*\\.\\n`))
    expect(out).toMatch(new RegExp(`\\nExample:\\n  qemu-img-ts ${name} .*\\n$`))
    expect(out.split('\n').filter((line) => line.length > 80)).toEqual([])
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

  it('opens nothing that an image names where the resolver refuses', async () => {
    expect(await run('info', 'file:nothing')).toMatchObject({ status: 1, out: '' })
  })

  it('tells that an image could not be closed, unless something else had failed before', async () => {
    const leaky: AnyDriver = {
      ...(memory as AnyDriver),
      name: 'leaky',
      async open(context) {
        const ops = await (memory as AnyDriver).open(context)
        return Object.assign(ops, { close: () => Promise.reject(new BlockError('ENOSPC', 'no room')) })
      },
    }
    const registry = new DriverRegistry([raw, memory, nullCo, leaky])
    const compared = (first: string, second: string) =>
      runOurs(['compare', '-s', '--image-opts', first, second], { ...services, registry })
    const close = /^qemu-img: Could not close '.*': no room\n$/
    const same = await compared('driver=leaky,size=1M', 'driver=leaky,size=1M')
    expect(same).toMatchObject({ status: 1, out: 'Images are identical.\n' })
    expect(same.err).toMatch(close)
    expect(await compared('driver=leaky,size=1M', 'driver=leaky,size=2M')).toMatchObject({
      status: 1,
      out: 'Strict mode: Image size mismatch!\n',
      err: '',
    })
    const missing = await compared('driver=leaky,size=1M', 'driver=nothing')
    expect(missing).toMatchObject({ status: 2, out: '' })
    expect(missing.err).toMatch(/^qemu-img: Could not open 'driver=nothing': .*\n$/)
  })

  it('tells a mistake of its own in one line', async () => {
    const broken = { ...services, registry: undefined as unknown as DriverRegistry }
    const { err, status } = await runOurs(['info', 'x'], broken)
    expect(status).toBe(1)
    expect(err).toMatch(/^qemu-img: .*\n$/)
  })
})
