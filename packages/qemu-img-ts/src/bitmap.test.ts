/** `bitmap`, and bitmaps in `info`, `convert` and `resize`: QEMU's qemu-img and ours say the same, and make the same. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { comparison } from './testing/two-programs.ts'

const { installed, sayTheSame } = comparison({ home: process, beforeEach, afterEach, expect })

const MADE = [
  'made: create -q -f qcow2 a 10M',
  'made: bitmap --add a b0',
  'made: bitmap --add --disable -g 32k a b1',
]
/** Content, recorded by b0; and a program that dies with both bitmaps in use. */
const WRITTEN = "io:qcow2: -c 'write 1M 100k' a"
const LOST = "io:qcow2: -c 'write 0 64k' -c abort a"

describe.skipIf(!installed)('as QEMU 7.2 says it', () => {
  it('refuses command lines that make no sense', async () => {
    await sayTheSame([
      ...MADE,
      'bitmap',
      'bitmap --clear',
      'bitmap -g 1k --clear',
      'bitmap -b x --add',
      'bitmap --add a',
      'bitmap a b0',
      'bitmap --add a b c',
      'bitmap -g 64k --clear a b0',
      'bitmap -F qcow2 --merge x a b0',
      'bitmap -b x --add a b3',
      'bitmap -U --add a b',
      'bitmap --bogus a z',
      'bitmap --merge',
      'bitmap --add -g foo a z',
      'bitmap --add -g -1 a z',
      'bitmap --add -g 8E a z',
      'bitmap --add -f qcow2 --image-opts driver=qcow2,file.filename=a y',
      'bitmap --add nofile z',
      'bitmap --merge b0 -b nofile a b1',
      'bitmap --add -f bogus a z',
    ])
  })

  it('does what it is told, in the order in which it is told', async () => {
    await sayTheSame([
      'made: create -q -f qcow2 a 10M',
      'bitmap --add a b0',
      'info a',
      'bitmap --add --disable -g 32k a b1',
      'bitmap --image-opts --add -g 2G driver=qcow2,file.filename=a b2',
      'bitmap --add --disable --enable a b3',
      'bitmap --enable --disable a b3',
      'bitmap --add -g 0 a b4',
      'bitmap --remove --add -g 4k a b4',
      'bitmap --clear --merge b0 --merge b1 a b2',
      'bitmap --add --merge nope a b5',
      'info a',
      'info --output=json a',
      'judge: info a',
      'judge: check -q a',
      'bitmap --remove a b0',
      'bitmap --remove a b2',
      'judge: info a',
      'judge: check -q a',
    ])
  })

  it('refuses what cannot be done', async () => {
    await sayTheSame([
      ...MADE,
      'made: create -q -f qcow2 w 5M',
      'made: bitmap --add w b0',
      'made: create -q -f qcow2 -o compat=0.10 v2 1M',
      'made: create -q -f raw raw 1M',
      "bitmap --add a ''",
      'bitmap --add a b0',
      'bitmap --add -g 100 a z',
      'bitmap --add -g 256 a z',
      'bitmap --add -g 4G a z',
      'bitmap --add -g 3 a z',
      'bitmap --remove a nope',
      'bitmap --clear a nope',
      'bitmap --enable a nope',
      'bitmap --disable a nope',
      'bitmap --merge nope a b0',
      'bitmap --merge b0 a nope',
      'bitmap --merge nope a nope2',
      'bitmap --merge b0 -b w -F qcow2 a b1',
      'bitmap --merge b0 -b w -F raw a b1',
      'bitmap --add v2 x',
      'bitmap --remove v2 x',
      'bitmap --add -f raw raw x',
      'bitmap --clear -f raw raw x',
      `bitmap --add a ${'n'.repeat(1024)}`,
      `bitmap --add a ${'n'.repeat(1023)}`,
      'made: create -q -f qcow2 large 3T',
      'bitmap --add -g 512 large x',
      'judge: info a',
    ])
  })

  it('trusts no bitmap that was lost, and removes it', async () => {
    await sayTheSame([
      ...MADE,
      'made: bitmap --add a good',
      LOST,
      'info a',
      'info --output=json a',
      'bitmap --add a new',
      'bitmap --clear a b0',
      'bitmap --enable a b0',
      'bitmap --disable a b1',
      'bitmap --merge b0 a b1',
      'bitmap --merge new a b1',
      'bitmap --merge b1 a new',
      'bitmap --merge nope a b1',
      'resize a 20M',
      'bitmap --remove a b0',
      'bitmap --remove a b1',
      'bitmap --remove a good',
      'resize a 20M',
      'judge: info a',
      'judge: check -q a',
    ])
  })

  it('copies bitmaps with the disk', async () => {
    await sayTheSame([
      ...MADE,
      WRITTEN,
      'convert --skip-broken-bitmaps -O qcow2 a z',
      'convert --bitmaps -O qcow2 a o',
      'judge: info o',
      'judge: check -q o',
      'convert --bitmaps -O raw a o2',
      'convert --bitmaps -O qcow2 -o compat=0.10 a o2',
      'convert --bitmaps -O qcow2 a a o2',
      'convert --bitmaps -f raw -O qcow2 a o2',
      'convert --bitmaps -n -O qcow2 a o',
      LOST,
      'convert --bitmaps -O qcow2 a o3',
      'convert --bitmaps --skip-broken-bitmaps -O qcow2 a o3',
      'judge: info o3',
    ])
  })

  it('keeps bitmaps through a resize', async () => {
    await sayTheSame([
      ...MADE,
      WRITTEN,
      'resize a 20M',
      'resize --shrink a 2M',
      'judge: info a',
      'judge: check -q a',
      'amend -o compat=1.1 a',
    ])
  })
})
