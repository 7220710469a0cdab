/** Encrypted images in QEMU's qemu-img and ours, for commands that need the key and those that do not. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison, runOurs } from './testing/two-programs.ts'

const { installed, sayTheSame, write } = comparison({ home: process, beforeEach, afterEach, expect })

/** Makes one image for both programs, since keys are random. */
async function encryptedImage(name: string, options: string): Promise<void> {
  const { execFileSync, spawnSync } = await import('node:child_process')
  const { readFileSync, rmSync } = await import('node:fs')
  const secret = ['--object', 'secret,id=s,data=pw']
  const words = ['create', '-q', ...secret, '-f', 'qcow2', '-o', options, name, '1M']
  // QEMU measures how fast it derives keys, and fails if the clock was too coarse ("accurate CPU usage").
  for (let tries = 0; tries < 20 && spawnSync('qemu-img', words).status !== 0; tries++);
  execFileSync('qemu-img', ['info', name])
  const bytes = readFileSync(name)
  rmSync(name)
  write(name, bytes)
}

const LUKS = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10'

describe.skipIf(!installed)('an encrypted image', () => {
  it.each([
    ['LUKS', LUKS],
    [
      'LUKS with other algorithms',
      `${LUKS},encrypt.cipher-alg=serpent-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha512`,
    ],
    [
      'LUKS with small clusters',
      `${LUKS},encrypt.cipher-alg=aes-128,encrypt.ivgen-alg=plain,cluster_size=512`,
    ],
    ['LUKS with a data file', `${LUKS},data_file=d.raw`],
    ['AES', 'encryption=on,encrypt.key-secret=s'],
    ['AES, version 2', 'encryption=on,encrypt.key-secret=s,compat=0.10'],
  ])('is described without a key: %s', async (_, options) => {
    await encryptedImage('e.qcow2', options)
    await sayTheSame([
      'info e.qcow2',
      'info --output=json e.qcow2',
      'create -f qcow2 -b e.qcow2 -F qcow2 o.qcow2',
      'create -q -f qcow2 -b e.qcow2 o2.qcow2',
      'info o.qcow2',
      'info --backing-chain o.qcow2',
      'info --backing-chain --output=json o.qcow2',
    ])
  })

  it.each([LUKS, 'encryption=on,encrypt.key-secret=s'])('needs a key for all else: %s', async (options) => {
    await encryptedImage('e.qcow2', options)
    await sayTheSame([
      'made: create -q -u -f qcow2 -b e.qcow2 -F qcow2 o.qcow2 1M',
      'made: create -q -f qcow2 to.qcow2 1M',
      ...['e.qcow2', 'o.qcow2'].flatMap((name) => [
        `check ${name}`,
        `check -r all ${name}`,
        `map ${name}`,
        `resize ${name} +1M`,
        `amend -o lazy_refcounts=on ${name}`,
        `commit ${name}`,
        `compare ${name} to.qcow2`,
        `compare to.qcow2 ${name}`,
        `convert -O raw ${name} out.raw`,
        `bench -c 1 ${name}`,
        `info --image-opts driver=qcow2,encrypt.format=qed,file.filename=${name}`,
        `map --image-opts driver=qcow2,encrypt.format=foo,file.filename=${name}`,
      ]),
      'convert -n -O qcow2 to.qcow2 e.qcow2',
    ])
  })

  const secrets = ['s,data=pw', 'n,data=new', 'x,data=wrong', 'b,data=cHc=,format=base64', 'bad,file=bad']
  const objects = secrets.map((secret) => `--object secret,id=${secret}`).join(' ')
  const at = (key: string, name = 'e.qcow2'): string =>
    `--image-opts driver=qcow2,file.filename=${name},encrypt.key-secret=${key}`

  it.each([LUKS, 'encryption=on,encrypt.key-secret=s'])('opens with its key: %s', async (options) => {
    await encryptedImage('e.qcow2', options)
    write('bad', Uint8Array.of(0xff))
    await sayTheSame([
      `info ${objects} ${at('s')}`,
      `info --output=json ${objects} ${at('none')}`,
      `check ${objects} ${at('s')}`,
      `check -r all ${objects} ${at('b')}`,
      `map ${objects} ${at('s')}`,
      `map --output=json ${objects} ${at('b')}`,
      `map ${objects} ${at('none')}`,
      `map ${objects} ${at('bad')}`,
      `map ${objects} ${at('s')},encrypt.format=luks`,
      `map ${objects} ${at('s')},encrypt.format=aes`,
      `map ${objects} json:{"driver":"qcow2","encrypt.key-secret":"s","file":{"filename":"e.qcow2"}}`,
      `resize ${objects} ${at('s')} +64k`,
      `info ${objects} ${at('s')}`,
      `convert -O raw ${objects} ${at('s')} out.raw`,
      'judge: map out.raw',
      'made: create -q -f qcow2 plain.qcow2 1M',
      "io:qcow2: -c 'write -P 7 100k 300k' plain.qcow2",
      `convert -n ${objects} --target-image-opts plain.qcow2 driver=qcow2,file.filename=e.qcow2,encrypt.key-secret=s`,
      `compare ${objects} ${at('s')} json:{"driver":"qcow2","file":{"filename":"plain.qcow2"}}`,
      `compare --image-opts ${objects} driver=qcow2,file.filename=e.qcow2,encrypt.key-secret=s driver=qcow2,file.filename=plain.qcow2`,
      `map ${objects} ${at('s')}`,
      `check ${objects} ${at('s')}`,
      `map ${objects} --image-opts driver=qcow2,file.filename=plain.qcow2,encrypt.format=luks`,
    ])
  })

  it('of LUKS refuses a wrong passphrase', async () => {
    await encryptedImage('e.qcow2', LUKS)
    await sayTheSame([`map ${objects.replace(' --object secret,id=bad,file=bad', '')} ${at('x')}`])
  })

  it('is not created by options that do not go together', async () => {
    const lists = [
      'encrypt.key-secret=s',
      'encrypt.format=luks',
      'encryption=on',
      'encrypt.format=aes',
      'encrypt.format=foo',
      'encryption=on,encrypt.format=aes',
      'encryption=off,encrypt.key-secret=s',
      'encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-128',
      'encrypt.format=aes,encrypt.key-secret=s,encrypt.iter-time=3',
      'encrypt.format=luks,encrypt.key-secret=t',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=foo',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=des',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=3des',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=cast5-128',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-mode=foo',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.ivgen-alg=foo',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha1',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.ivgen-hash-alg=foo',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.hash-alg=foo',
      'encrypt.format=luks,encrypt.key-secret=s,data_file_raw=on',
      'encrypt.format=aes,encrypt.key-secret=s,cluster_size=3',
    ]
    await sayTheSame([
      ...lists.map((list) => `create -q --object secret,id=s,data=pw -f qcow2 -o ${list} n.qcow2 1M`),
      'made: create -q -f qcow2 plain.qcow2 1M',
      ...['encryption=on', 'encrypt.format=luks'].flatMap((list) => [
        `convert -c --object secret,id=s,data=pw -O qcow2 -o ${list},encrypt.key-secret=s plain.qcow2 n.qcow2`,
        `convert --object secret,id=s,data=pw -O qcow2 -o ${list} plain.qcow2 n.qcow2`,
      ]),
    ])
  })

  it('has its key slots amended', async () => {
    await encryptedImage('e.qcow2', LUKS)
    const refused = [
      'encrypt.state=foo',
      'encrypt.keyslot=1',
      'encrypt.state=active',
      'encrypt.state=active,encrypt.new-secret=zz',
      'encrypt.state=active,encrypt.new-secret=n,encrypt.old-secret=s',
      'encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=9',
      'encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=0',
      'encrypt.state=inactive',
      'encrypt.state=inactive,encrypt.new-secret=n',
      'encrypt.state=inactive,encrypt.iter-time=3',
      'encrypt.state=inactive,encrypt.keyslot=3',
      'encrypt.state=inactive,encrypt.keyslot=0',
      'encrypt.state=inactive,encrypt.keyslot=0,encrypt.old-secret=n',
      'encrypt.state=inactive,encrypt.old-secret=n',
      'encrypt.state=inactive,encrypt.old-secret=s',
      'encrypt.state=inactive,encrypt.old-secret=zz',
      'encrypt.format=luks',
      'encrypt.cipher-alg=aes-128',
    ]
    const both = '--object secret,id=s,data=pw --object secret,id=n,data=new'
    await sayTheSame(refused.map((list) => `amend ${both} -o ${list} ${at('s')}`))
    // Salts and iterations of a new slot are random; that it opens is the same for both.
    const add = 'encrypt.state=active,encrypt.new-secret=n,encrypt.iter-time=10'
    const { status } = await runOurs(`amend ${both} -o ${add} ${at('s')}`.split(' '))
    expect(status).toBe(0)
    const { readFileSync } = await import('node:fs')
    write('two.qcow2', readFileSync('e.qcow2'))
    await sayTheSame([
      `check ${both} ${at('n', 'two.qcow2')}`,
      `check ${both} ${at('s', 'two.qcow2')}`,
      `amend ${both} -o encrypt.state=inactive,encrypt.old-secret=s ${at('n', 'two.qcow2')}`,
      `check ${both} ${at('s', 'two.qcow2')}`,
      `check ${both} ${at('n', 'two.qcow2')}`,
      `amend ${both} -o encrypt.state=inactive,encrypt.keyslot=1 --force ${at('n', 'two.qcow2')}`,
      `check ${both} ${at('n', 'two.qcow2')}`,
      'info two.qcow2',
    ])
  })

  it('of AES, or none, has no key slots', async () => {
    await encryptedImage('e.qcow2', 'encryption=on,encrypt.key-secret=s')
    await sayTheSame([
      `amend --object secret,id=s,data=pw -o encrypt.state=active ${at('s')}`,
      'made: create -q -f qcow2 plain.qcow2 1M',
      'amend -o encrypt.state=active plain.qcow2',
    ])
  })

  it('has passphrases that are encrypted themselves', async () => {
    await encryptedImage('e.qcow2', 'encryption=on,encrypt.key-secret=s')
    const { createCipheriv } = await import('node:crypto')
    const [key, iv] = [Buffer.alloc(32, 7), Buffer.alloc(16, 9)]
    const cipher = createCipheriv('aes-256-cbc', key, iv)
    const sealed = Buffer.concat([cipher.update('pw'), cipher.final()]).toString('base64')
    const master = `--object secret,id=m,format=base64,data=${key.toString('base64')}`
    const vector = iv.toString('base64')
    await sayTheSame([
      ...[
        `data=${sealed},format=base64,keyid=m,iv=${vector}`,
        `data=${sealed},format=base64,keyid=m`,
        `data=${sealed},format=base64,keyid=none,iv=${vector}`,
        `data=${sealed},format=base64,keyid=m,iv=AAAA`,
        `data=abc,keyid=m,iv=${vector}`,
        `data=0123456789abcdef,keyid=m,iv=${vector}`,
      ].map((secret) => `map ${master} --object secret,id=s,${secret} ${at('s')}`),
      `map --object secret,id=m,data=short --object secret,id=s,data=${sealed},format=base64,keyid=m,iv=${vector} ${at('s')}`,
    ])
  })

  it('is refused for a broken LUKS header in the words of QEMU', async () => {
    await encryptedImage('e.qcow2', LUKS)
    const { readFileSync } = await import('node:fs')
    const sound = readFileSync('e.qcow2')
    const at = sound.indexOf('LUKS')
    const changes: [number, readonly number[]][] = [
      [0, [0]],
      [7, [2]],
      [8, Array.from({ length: 32 }, () => 97)],
      [40, Array.from({ length: 32 }, () => 97)],
      [40, [120, 116, 115, 0]],
      [40, [120, 116, 116]],
      [44, [113]],
      [72, Array.from({ length: 32 }, () => 97)],
      [72, [113]],
      [8, [113]],
      [104, [0, 0, 0, 7]],
      [108, [0, 0, 0, 30]],
      [108, [0, 0, 0, 31]],
      [164, [0, 0, 0, 0]],
      [208, [1]],
      [212, [0, 0, 0, 0]],
      [248, [0, 0, 0, 1]],
      [248, [1, 0, 0, 1]],
      [252, [1]],
      [296, [0, 0, 0, 16]],
    ]
    for (const [offset, bytes] of changes) {
      const broken = Uint8Array.from(sound)
      broken.set(bytes, at + offset)
      write('broken.qcow2', broken)
      await sayTheSame(['info broken.qcow2', 'info --output=json broken.qcow2'])
    }
  })
})
