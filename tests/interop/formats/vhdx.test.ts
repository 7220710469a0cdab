/** VHDX images of every sub-format, made by either side: both read and check the same after random writes of either. */
import { type BlockNode, DriverRegistry, denyHost, formatImage, openNode } from '@vmblock/block-core'
import { file } from '@vmblock/block-core/node'
import { createRandom, type Random } from '@vmblock/block-core/testing'
import { vhdx } from '@vmblock/vhdx'
import { afterAll, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../../support/real-qemu.ts'

const MIB = 2 ** 20
const environment = { registry: new DriverRegistry([file, vhdx]), host: denyHost }

const openOurs = (path: string, readOnly = false): Promise<BlockNode> =>
  openNode(environment, { driver: 'vhdx', filename: path, readOnly })

type Options = Readonly<Record<string, string>>

/** Makes an image with either program. */
async function make(
  bench: Bench,
  name: string,
  size: number,
  options: Options,
  ours: boolean,
): Promise<void> {
  const words = Object.entries(options).map(([key, value]) => `${key}=${value}`)
  if (!ours) {
    const list = words.length > 0 ? ['-o', words.join(',')] : []
    bench.run('qemu-img', 'create', '-q', '-f', 'vhdx', ...list, name, String(size))
    return
  }
  bench.write(name, new Uint8Array(0))
  const node = await openNode(environment, { driver: 'file', filename: bench.path(name) })
  await formatImage(vhdx, node, { ...options, size })
  await node.close()
}

interface Write {
  readonly offset: number
  readonly bytes: number
  readonly value: number
}

/** Random writes of whole sectors, as both programs can make them, applied to the model. */
function writesFor(random: Random, model: Uint8Array): Write[] {
  return Array.from({ length: 6 }, () => {
    const offset = random.int(0, model.length / 512) * 512
    const bytes = Math.min(random.int(1, 3000) * 512, model.length - offset)
    const value = random.int(0, 256)
    model.fill(value, offset, offset + bytes)
    return { offset, bytes, value }
  })
}

async function ourTurn(bench: Bench, name: string, writes: readonly Write[]): Promise<void> {
  const node = await openOurs(bench.path(name))
  for (const [i, { offset, bytes, value }] of writes.entries()) {
    if (value === 0) await node.writeZeroes(offset, bytes, { mayUnmap: i % 2 === 0 })
    else await node.write(offset, new Uint8Array(bytes).fill(value))
    if (i % 3 === 0) await node.flush()
  }
  await node.close()
}

const theirTurn = (bench: Bench, name: string, writes: readonly Write[]): void =>
  void bench.run(
    'qemu-io',
    '-f',
    'vhdx',
    ...writes.flatMap(({ offset, bytes, value }) => ['-c', `write -P ${value} ${offset} ${bytes}`]),
    name,
  )

/** Both sides read the model, and find nothing wrong. */
async function agree(bench: Bench, name: string, model: Uint8Array): Promise<void> {
  bench.run('qemu-img', 'check', '-q', '-f', 'vhdx', name)
  bench.write('model', model)
  bench.run('qemu-img', 'compare', '-q', '-f', 'vhdx', '-F', 'raw', name, 'model')
  const node = await openOurs(bench.path(name), true)
  expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
  const shown = new Uint8Array(node.size)
  await node.read(0, shown)
  await node.close()
  expect(Buffer.compare(shown, model)).toBe(0)
}

describe.skipIf(!haveQemu)('VHDX', () => {
  const bench = openBench()
  afterAll(() => bench.remove())

  const VARIETIES: readonly (readonly [string, Options, number])[] = [
    ['default', {}, 10 * MIB + 512],
    ['1 MiB blocks', { block_size: '1M' }, 5 * MIB],
    [
      'no zero states, long log',
      { block_size: '2M', log_size: '3M', block_state_zero: 'off' },
      5 * MIB + 1024,
    ],
    ['fixed', { subformat: 'fixed', block_state_zero: 'off' }, 5 * MIB],
  ]

  test.each(VARIETIES)('both make the same image but for identifiers: %s', async (_, options, size) => {
    for (const ours of [true, false]) await make(bench, `made-${ours}`, size, options, ours)
    const [a, b] = [bench.read('made-true'), bench.read('made-false')]
    expect(a.length).toBe(b.length)
    // The creator, the headers, and the identifier of the disk.
    const metadata = (1 + Number(options['log_size']?.[0] ?? 1) + 1) * MIB + 65536
    const own = [
      [8, 512],
      [65536, 196608],
      [metadata + 16, metadata + 32],
    ] as const
    for (const [from, to] of own) {
      a.fill(0, from, to)
      b.fill(0, from, to)
    }
    expect(Buffer.compare(a, b)).toBe(0)
  })

  test.each(VARIETIES.flatMap((variety) => [true, false].map((ours) => [...variety, ours] as const)))(
    'passes back and forth: %s',
    async (title, options, size, ours) => {
      const random = createRandom(title.length * 2 + Number(ours))
      const model = new Uint8Array(size)
      await make(bench, 'disk', size, options, ours)
      for (let turn = 0; turn < 4; turn++) {
        const writes = writesFor(random, model)
        if ((turn % 2 === 0) === ours) await ourTurn(bench, 'disk', writes)
        else theirTurn(bench, 'disk', writes)
        await agree(bench, 'disk', model)
      }
    },
  )

  test('QEMU replays the log of a session that ended in a crash', async () => {
    await make(bench, 'crashed', 8 * MIB, { block_size: '1M' }, true)
    for (const blocks of [1, 2, 5]) {
      const node = await openOurs(bench.path('crashed'))
      for (let block = 0; block < blocks; block++) {
        await node.write(block * MIB, new Uint8Array(512).fill(blocks + block))
        await node.flush()
      }
      await node.crash()
      expect(bench.attempt('qemu-img', 'info', 'crashed').stderr).toContain('contains a log')
      expect(bench.attempt('qemu-img', 'check', '-r', 'all', 'crashed').stdout).toContain('1 corruptions')
      const model = new Uint8Array(8 * MIB)
      for (let block = 0; block < blocks; block++) model.fill(blocks + block, block * MIB, block * MIB + 512)
      await agree(bench, 'crashed', model)
    }
  })

  test('QEMU reads a fixed image of ours', async () => {
    await make(bench, 'fixed', 3 * MIB, { subformat: 'fixed' }, true)
    expect(bench.read('fixed').length).toBe(11 * MIB)
    await agree(bench, 'fixed', new Uint8Array(3 * MIB))
  })
})
