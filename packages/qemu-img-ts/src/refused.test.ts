/** When `create` and `convert` refuse or fail, they leave no new file, and keep files that existed. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nodeServices, runOurs } from './testing/two-programs.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-refused-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const path = (name: string): string => join(directory, name)

/** Command lines that fail, with `T` for the target and `D` for the directory. */
const REFUSED: readonly string[] = [
  'create -f qcow2 -o cluster_size=3 T 1G',
  'create -f qcow2 -o compat=0.10,lazy_refcounts=on T 1G',
  'create -f qcow2 -o refcount_bits=3 T 1G',
  'create -f qcow2 T 9999P',
  'create -f qcow2 T 1X',
  'create -f qcow2 -o preallocation=foo T 1G',
  'create -f qcow2 -o nocow=x T 1G',
  'create -f qcow2 -b D/none -F raw T',
  'create -f qcow2 -o data_file=D/none/data T 1G',
  'create -f qed -o cluster_size=3 T 1G',
  'create -f qed -o cluster_size=4k,table_size=1 T 9T',
  'create -f raw -o preallocation=metadata T 1M',
  'convert -O qcow2 -o cluster_size=3 D/source T',
  'convert -O qcow2 -o data_file=D/none/data D/source T',
  'convert -O qcow2 -B D/none -F raw D/source T',
  'convert -O qcow2 -t nonsense D/source T',
  'convert -O qed -o table_size=3 D/source T',
]

const run = (line: string, services = nodeServices()) =>
  runOurs(
    line
      .split(' ')
      .map((word) => word.replace(/^T$/, path('target')).replace(/^(.*=)?D\//, `$1${directory}/`)),
    services,
  )

describe.each(REFUSED)('%s', (line) => {
  beforeEach(() => writeFileSync(path('source'), new Uint8Array(65536).fill(1)))

  it('leaves no file', async () => {
    expect((await run(line)).status).toBe(1)
    expect(readdirSync(directory)).toEqual(['source'])
  })

  it('leaves the file that was there', async () => {
    writeFileSync(path('target'), 'of somebody')
    expect((await run(line)).status).toBe(1)
    expect(readFileSync(path('target'), 'latin1')).toBe('of somebody')
  })
})

describe('a conversion that fails in its midst', () => {
  const CONFIG = '[inject-error]\nevent = "read_aio"\nsector = "256"\nerrno = "5"\n'

  it('leaves no half of an image, but a file that was there before', async () => {
    writeFileSync(path('source'), new Uint8Array(2 ** 20).fill(1))
    writeFileSync(path('config'), CONFIG)
    mkdirSync(path('other'))
    for (const format of ['raw', 'qcow2', 'qed']) {
      const line = `convert -f raw -O ${format} blkdebug:${path('config')}:${path('source')} T`
      const { status, err } = await run(line)
      expect([status, err]).toEqual([1, expect.stringContaining('error while reading')])
      expect(readdirSync(directory).sort()).toEqual(['config', 'other', 'source'])
      writeFileSync(path('target'), '')
      expect((await run(line)).status).toBe(1)
      expect(readdirSync(directory)).toContain('target')
      rmSync(path('target'))
    }
  })
})
