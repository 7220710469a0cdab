/** The formats of other programs: conversions to them and from them, and requests to their images. */
import { rmSync } from 'node:fs'
import { createFull, warm } from '../images.ts'
import type { Target, Workload } from '../workload.ts'
import { commandContestants } from './commands.ts'
import { type StreamArguments, streamContestants } from './requests.ts'

/** A kind of image, and how programs are told of it. */
interface Foreign {
  readonly format: string
  /** Options of `qemu-img create -o`. */
  readonly options?: Readonly<Record<string, string>>
}

const FORMATS: readonly Foreign[] = [{ format: 'vhdx' }, { format: 'vdi' }, { format: 'parallels' }]

const BYTES = 256 * 2 ** 20
/** An odd number of 4 KiB blocks, so that every offset is visited, each far from the one before. */
const STRIDE = 20484 * 1024

const CONVERSION: Pick<Target, 'must' | 'aim'> = { must: 0.6, aim: 1 }
const REQUESTS: Pick<Target, 'must' | 'aim'> = { must: 1, aim: 2 }

function conversion({ format, options = {} }: Foreign, direction: 'to' | 'from'): Workload {
  const [from, to] = direction === 'to' ? ['raw', format] : [format, 'raw']
  return {
    id: `formats-${from}-${to}`,
    title: `convert ${from} to ${to}`,
    medium: 'memory',
    unit: 'command',
    target: { of: 'ratio', ...CONVERSION },
    async prepare(workbench) {
      const image = await workbench.shared('memory', `foreign.${from}`, (path) =>
        createFull(
          path,
          { format: from!, options: from === 'raw' ? {} : options },
          workbench.scaleBytes(BYTES),
        ),
      )
      const path = workbench.own('memory', 'converted')
      const making = Object.entries(to === 'raw' ? {} : options).flatMap(([key, value]) => [
        '-o',
        `${key}=${value}`,
      ])
      warm(image)
      return commandContestants(workbench, {
        program: 'qemu-img',
        args: ['convert', '-f', from!, '-O', to!, ...making, image, path],
        reset: () => rmSync(path, { force: true }),
      })
    },
  }
}

function requests({ format, options = {} }: Foreign, isWrite: boolean): Workload {
  const verb = isWrite ? 'overwrite' : 'read'
  return {
    id: `formats-${verb}-4k-${format}`,
    title: `${verb} 4 KiB ${format}, depth 1`,
    medium: 'memory',
    unit: 'request',
    target: { of: 'ratio', ...REQUESTS },
    async prepare(workbench) {
      const image = await workbench.shared('memory', `foreign.${format}`, (path) =>
        createFull(path, { format, options }, workbench.scaleBytes(BYTES)),
      )
      const words = ['-f', format, '-t', 'writeback', ...(isWrite ? ['-w', '--pattern=90'] : [])]
      const args: StreamArguments = (count, depth) => [
        ...['bench', ...words, '-c', String(count), '-d', String(depth)],
        ...['-s', '4096', '-S', String(STRIDE), image],
      ]
      warm(image)
      return streamContestants(workbench, { args, count: workbench.scale(20_000), depth: 1 })
    },
  }
}

/** Rows of the formats of other programs; `formats` names them all. */
export const formatWorkloads: readonly Workload[] = FORMATS.flatMap((kind) => [
  conversion(kind, 'to'),
  conversion(kind, 'from'),
  requests(kind, false),
  requests(kind, true),
])
