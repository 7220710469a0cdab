/** Encrypted disks: made, opened, converted and checked with passphrases. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { check, convert, create, info, open } from './node-js.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const path = (name: string): string => join(directory, name)
const MIB = 2 ** 20
const ONE = { passphrase: 'correct horse', iterTime: 1 }
const OTHER = { passphrase: new TextEncoder().encode('battery staple'), iterTime: 1 }

async function firstByte(name: string, passphrase: Parameters<typeof open>[1]): Promise<number> {
  await using disk = await open(path(name), { readOnly: true, ...passphrase })
  return (await disk.read(MIB / 2, 1))[0]!
}

async function filled(name: string, value: number, passphrase?: string | Uint8Array): Promise<void> {
  await using disk = await open(path(name), { passphrase })
  await disk.write(0, new Uint8Array(MIB).fill(value))
}

describe('an encrypted disk', () => {
  it('is created, written, read, described and checked', async () => {
    await create(path('a.qcow2'), { size: MIB, encryption: ONE })
    await filled('a.qcow2', 77, ONE.passphrase)
    expect(await firstByte('a.qcow2', { passphrase: ONE.passphrase })).toBe(77)
    expect(readFileSync(path('a.qcow2')).includes(Buffer.alloc(64, 77))).toBe(false)
    expect(await info(path('a.qcow2'))).toMatchObject({ encrypted: true, size: MIB })
    expect(await check(path('a.qcow2'), { passphrase: ONE.passphrase })).toMatchObject({ corruptions: 0 })
    await expect(check(path('a.qcow2'))).rejects.toThrow('key-secret')
    await expect(open(path('a.qcow2'))).rejects.toThrow('key-secret')
    await expect(open(path('a.qcow2'), OTHER as never)).rejects.toThrow('iterTime')
    await expect(open(path('a.qcow2'), { passphrase: OTHER.passphrase })).rejects.toThrow(
      'Invalid password, cannot unlock any keyslot',
    )
  })

  it('is converted to and from others, with backing files that have keys of their own', async () => {
    await create(path('plain.img'), { size: MIB })
    await filled('plain.img', 5)
    await convert(path('plain.img'), path('base.qcow2'), { encryption: OTHER })
    expect(await firstByte('base.qcow2', { passphrase: OTHER.passphrase })).toBe(5)
    await create(path('top.qcow2'), {
      backing: path('base.qcow2'),
      backingPassphrase: OTHER.passphrase,
      encryption: ONE,
    })
    expect(await firstByte('top.qcow2', { passphrase: [ONE.passphrase, OTHER.passphrase] })).toBe(5)
    await convert(path('top.qcow2'), path('back.img'), {
      sourcePassphrase: [ONE.passphrase, OTHER.passphrase],
    })
    expect(Buffer.compare(readFileSync(path('back.img')), readFileSync(path('plain.img')))).toBe(0)
    await create(path('over.qcow2'), { backing: path('base.qcow2'), backingPassphrase: OTHER.passphrase })
    expect(await firstByte('over.qcow2', { passphrase: [undefined, OTHER.passphrase] })).toBe(5)
    const overlay = { overlay: { file: path('over.qcow2') }, base: { file: path('base.qcow2') } }
    await using disk = await open(overlay as never, { passphrase: [undefined, OTHER.passphrase] })
    expect((await disk.read(0, 1))[0]).toBe(5)
  })

  it('of the old method is made, too', async () => {
    await create(path('a.qcow2'), { size: MIB, encryption: { passphrase: 'x', format: 'aes' } })
    expect(await info(path('a.qcow2'))).toMatchObject({ encrypted: true })
  })
})

describe('a passphrase', () => {
  it.each([5, 'a\0b', Uint8Array.of(0), null, ['x', 7]])(
    'is not %j, and is not shown',
    async (passphrase) => {
      await create(path('a.qcow2'), { size: MIB, encryption: ONE })
      await expect(open(path('a.qcow2'), { passphrase: passphrase as never })).rejects.toMatchObject({
        code: 'EINVAL',
        message: "Parameter 'passphrase' must be a passphrase, text or bytes without NUL",
      })
      const encryption = { passphrase: passphrase as never }
      await expect(create(path('b.qcow2'), { size: MIB, encryption })).rejects.toThrow(
        "Parameter 'encryption.passphrase' must be a passphrase",
      )
    },
  )

  it('is refused for a disk that is not encrypted, or open already', async () => {
    await create(path('a.qcow2'), { size: MIB })
    await expect(open(path('a.qcow2'), { passphrase: 'x' })).rejects.toThrow('No encryption in image header')
    await using disk = await open(path('a.qcow2'))
    await expect(open(disk.node, { passphrase: 'x' })).rejects.toThrow('open already')
    await expect(create(path('b.qcow2'), { size: MIB, encryption: 'x' as never })).rejects.toThrow(
      "'encryption'",
    )
  })
})
