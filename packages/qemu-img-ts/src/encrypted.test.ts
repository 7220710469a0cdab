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

  it('says of a key that there is no cipher for it', async () => {
    await encryptedImage('e.qcow2', LUKS)
    const image = ['--image-opts', 'driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2']
    const { err, status } = await runOurs(['map', '--object', 'secret,id=s,data=pw', ...image])
    expect([err, status]).toEqual([
      expect.stringContaining('the image is encrypted (luks): its disk cannot be read or written yet'),
      1,
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
