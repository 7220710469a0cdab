/**
 * Subjects that are executables: QEMU's from the PATH, ours from the built packages.
 * @module
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Run, RunOptions, Subject } from './subject.ts'

/**
 * Runs a command with both output streams on one pipe, which keeps their order.
 * The shell only joins them (and keeps crashes from leaving core files), then becomes the program.
 */
function run(command: readonly string[], args: readonly string[], options: RunOptions = {}): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', 'ulimit -c 0; exec "$0" "$@" 2>&1', ...command, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const chunks: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const status = signal === null ? (code ?? 0) : 128 + constants.signals[signal]
      resolve({ code: status, text: Buffer.concat(chunks).toString() })
    })
    child.stdin.on('error', () => undefined) // a program may end without reading its input
    child.stdin.end(options.input ?? '')
  })
}

const pair = (
  name: Subject['name'],
  ours: boolean,
  io: readonly string[],
  img: readonly string[],
): Subject => ({
  name,
  ours,
  io: (args, options) => run(io, args, options),
  img: (args, options) => run(img, args, options),
})

/** QEMU's programs; `QEMU_IO` and `QEMU_IMG` name others than those in the PATH. */
export const realSubject = (): Subject =>
  pair('real', false, [process.env['QEMU_IO'] ?? 'qemu-io'], [process.env['QEMU_IMG'] ?? 'qemu-img'])

/** Our programs, as built. */
export function processSubject(): Subject {
  const bin = (folder: string): string =>
    fileURLToPath(new URL(`../../../packages/${folder}/dist/bin.cjs`, import.meta.url))
  return pair('process', true, [process.execPath, bin('qemu-io-ts')], [process.execPath, bin('qemu-img-ts')])
}
