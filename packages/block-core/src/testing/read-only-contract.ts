/** The driver contract for read-only disks: a file picked in a browser, a disk on a web server, an image that is only read. */
import { afterEach, describe, expect, it } from 'vitest'
import { alignUp } from '../base/bits.ts'
import type { BlockNode } from '../contract/node.ts'
import { expectCode, expectSame, pattern, RANGES, readBack, SIZE } from './contract-kit.ts'
import { toBytes } from './nodes.ts'
import { createRandom } from './random.ts'

/**
 * Declares the suite.
 *
 * @param makeNode opens a read-only node with these bytes as its content
 * @param granularity the sizes that such a disk may have are multiples of this many bytes
 */
export function readOnlyContract(
  name: string,
  makeNode: (content: Uint8Array) => Promise<BlockNode>,
  granularity = 1,
): void {
  describe(`${name} keeps the driver contract for reading`, () => {
    const sized = (bytes: number): number => alignUp(bytes, granularity)
    const open: BlockNode[] = []
    const make = async (content: Uint8Array): Promise<BlockNode> => {
      const node = await makeNode(content)
      open.push(node)
      return node
    }
    afterEach(async () => {
      for (const node of open.splice(0)) await node.crash()
    })

    it.each(RANGES)('at %i, reads %i bytes', async (offset, length) => {
      const content = pattern(SIZE, 5)
      const node = await make(content)
      expectSame(await readBack(node, offset, length), content.subarray(offset, offset + length))
    })

    it.each([0, 1, 511, 65_535, 65_536, 65_537, 300_001].map(sized))(
      'shows all of %i bytes',
      async (bytes) => {
        const content = pattern(bytes, 6)
        const node = await make(content)
        expect(node.size).toBe(bytes)
        expectSame(await toBytes(node), content)
      },
    )

    it('answers many requests at once, in any order, also of the same bytes', async () => {
      const content = pattern(sized(3 * SIZE + 77), 7)
      const node = await make(content)
      const random = createRandom(8)
      await Promise.all(
        Array.from({ length: 200 }, async () => {
          const offset = random.int(0, content.length)
          const length = random.int(1, Math.min(200_000, content.length - offset + 1))
          expectSame(await readBack(node, offset, length), content.subarray(offset, offset + length))
        }),
      )
    })

    it('refuses what lies outside, and every change', async () => {
      const node = await make(pattern(sized(1000)))
      await expectCode(node.read(node.size - 10, new Uint8Array(11)), 'EIO')
      await expectCode(node.write(0, new Uint8Array(1)), 'EPERM')
      await expectCode(node.writeZeroes(0, 1), 'EPERM')
      await expectCode(node.discard(0, 1), 'EPERM')
      await expectCode(node.truncate(0), 'EPERM')
      expect(await node.blockStatus(0, 1000)).toMatchObject({ bytes: 1000, allocated: true, data: true })
      await node.flush()
    })

    it('is over when it is closed, and when it crashes', async () => {
      const closed = await make(pattern(sized(1000)))
      await closed.close()
      await expectCode(closed.read(0, new Uint8Array(1)), 'ENOMEDIUM')
      const crashed = await make(pattern(SIZE))
      const late = crashed.read(300_000, new Uint8Array(200_000))
      const outcome = late.then(
        () => 'read',
        (error: { code?: string }) => error.code,
      )
      await crashed.crash()
      expect(await outcome).toBe('ECANCELED')
    })
  })
}
