/** Reads images of formats that are only read, with QEMU's programs and with a driver of ours. */
import { type AnyDriver, DriverRegistry, denyHost, openNode } from '@vmblock/block-core'
import { file } from '@vmblock/block-core/node'
import { toBytes } from '@vmblock/block-core/testing'
import type { Bench } from '../../support/real-qemu.ts'

/** The content of an image. @throws Error with what QEMU says */
export function readByQemu(bench: Bench, format: string, name: string): Uint8Array {
  const out = `${name}.out`
  bench.write(out, new Uint8Array(0))
  const { status, stderr } = bench.attempt('qemu-img', 'convert', '-f', format, '-O', 'raw', name, out)
  if (status !== 0) throw new Error(stderr)
  return bench.read(out)
}

/** The content of an image. @throws BlockError */
export async function readByOurs(driver: AnyDriver, path: string, how?: 'for writing'): Promise<Uint8Array> {
  const environment = { registry: new DriverRegistry([driver, file]), host: denyHost }
  const readOnly = how === undefined
  const node = await openNode(environment, { driver: driver.name, filename: path, readOnly })
  try {
    return await toBytes(node)
  } finally {
    await node.close()
  }
}

/** Why QEMU does not open an image, without the name that comes first. */
export function qemuRefusal(bench: Bench, format: string, name: string, how?: 'for writing'): string {
  const read = how === undefined ? ['-r'] : []
  const { status, stderr } = bench.attempt('qemu-io', ...read, '-f', format, '-c', 'read 0 512', name)
  if (status === 0) throw new Error('QEMU opens it')
  return stderr.trim().split('\n').at(-1)!.replace(`qemu-io: can't open device ${name}: `, '')
}
