/** For tests: the real qemu-io and qemu-img, where they are installed. With REQUIRE_QEMU=1 they must be. */
import { spawnSync } from 'node:child_process'
import process from 'node:process'

const starts = (program: string): boolean => spawnSync(program, ['--version']).status === 0

/** Whether both programs can be started. */
export const hasQemu = starts('qemu-io') && starts('qemu-img')

/** Whether a test that needs them may be skipped. */
export const mayMissQemu = process.env['REQUIRE_QEMU'] !== '1'

/** What the real qemu-io says. */
export interface RealResult {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** Runs the real qemu-io. A death by signal N is status 128 + N, as in a shell. */
export function realQemuIo(argv: readonly string[], cwd: string, input = ''): RealResult {
  const { status, signal, stdout, stderr } = spawnSync('qemu-io', argv, { cwd, input, encoding: 'utf8' })
  return { status: status ?? 128 + (SIGNALS[signal ?? ''] ?? 0), out: stdout, err: stderr }
}

/** Runs the real qemu-io with both streams in one pipe. */
export function realQemuIoMerged(argv: readonly string[], cwd: string, input = ''): string {
  return spawnSync('sh', ['-c', 'exec qemu-io "$@" 2>&1', 'sh', ...argv], { cwd, input, encoding: 'utf8' })
    .stdout
}

const SIGNALS: Readonly<Record<string, number>> = { SIGABRT: 6, SIGKILL: 9, SIGTERM: 15 }

/** Times, rates, names of nodes and of temporary files differ from run to run. */
export const normalised = (text: string): string =>
  text
    .replaceAll(/\d+ ops; [0-9:.]+( sec)? \([^)]*\)/g, 'N ops; T')
    .replaceAll(/^(\d+),1,\d+:\d\d:\d\d\.\d\d,[0-9.inf]+,[0-9.inf]+$/gm, '$1,1,T')
    .replaceAll(/#block\d+/g, '#block')
