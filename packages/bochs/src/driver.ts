/** A sparse format: a header, a map, and clusters in the order in which they were first written. */
import {
  alignUp,
  BlockError,
  be,
  defineDriver,
  layout,
  type NodeOps,
  size,
  viewOf,
} from '@vmblock/block-core/driver'

const CLUSTER = 4096
const MAGIC = 0x424f4348
const HEADER = layout('bochs header', 12, { magic: be.u32(0), imageSize: be.u64(4) })

/** Bytes of header and map together. */
const tablesEnd = (imageSize: number): number => alignUp(HEADER.size + (imageSize / CLUSTER) * 4, CLUSTER)

/** Images in the bochs format. */
export const bochs = defineDriver({
  name: 'bochs',
  kind: 'format',
  probe: (head) => (head.length >= HEADER.size && viewOf(head).getUint32(0) === MAGIC ? 100 : 0),

  creation: async () => ({
    options: { size: size('Virtual disk size') },
    async create({ file, options }) {
      if (options.size === undefined) throw new BlockError('EINVAL', 'Image creation needs a size parameter')
      const imageSize = alignUp(options.size, CLUSTER)
      const tables = new Uint8Array(tablesEnd(imageSize))
      HEADER.write(tables, { magic: MAGIC, imageSize })
      await file.write(0, tables)
    },
  }),

  async open(context): Promise<NodeOps> {
    const file = await context.requireChild('file')
    const head = new Uint8Array(HEADER.size)
    await file.read(0, head)
    const { magic, imageSize } = HEADER.read(head)
    if (magic !== MAGIC) throw new BlockError('EFORMAT', 'not a bochs image')
    if (imageSize % CLUSTER !== 0 || tablesEnd(imageSize) > file.size)
      throw new BlockError('EINVAL', 'the map is not inside the file')
    const map = new Uint8Array((imageSize / CLUSTER) * 4)
    if (map.length > 0) await file.read(HEADER.size, map)
    const entries = viewOf(map)
    let next = alignUp(file.size, CLUSTER) / CLUSTER
    let changed = false // not `context.readOnly`: a reopen may change that
    const hostOffsetOf = (offset: number): number => entries.getUint32((offset / CLUSTER) * 4) * CLUSTER

    async function flush(): Promise<void> {
      const linked = map.slice() // what the map says now: data that came later is not durable yet
      await file.flush()
      await file.write(HEADER.size, linked)
      await file.flush()
    }

    return {
      limits: { requestAlignment: CLUSTER, maxTransfer: CLUSTER },
      size: () => imageSize,
      async read(offset, into) {
        const host = hostOffsetOf(offset)
        if (host === 0) into.fill(0)
        else await file.read(host, into)
      },
      async write(offset, from) {
        const host = hostOffsetOf(offset) || next++ * CLUSTER
        await file.write(host, from)
        changed = true
        entries.setUint32((offset / CLUSTER) * 4, host / CLUSTER) // last: until here the old content shows
      },
      flush,
      async blockStatus(offset, bytes) {
        const host = hostOffsetOf(offset)
        const one = { bytes: Math.min(bytes, CLUSTER), allocated: host !== 0 }
        if (host === 0) return { ...one, data: false, zero: true }
        return { ...one, data: true, zero: false, host: { child: file, offset: host } }
      },
      close: () => (changed ? flush() : Promise.resolve()),
    }
  },
})
