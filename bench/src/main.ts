/**
 * `pnpm bench`: the library's speed compared with QEMU's, the growth of its costs, and the times of its hot
 * functions.
 * @module
 */
import { handleSignals } from './cleanup.ts'
import { HELP, readCommandLine, type Settings, UsageError } from './command-line.ts'
import { seedTable } from './counts/table.ts'
import { runGrowth } from './growth/run.ts'
import { runLoop } from './loop/loop.ts'
import { canTrace, qemuVersion } from './machine.ts'
import { openMedia } from './media.ts'
import { runMicro } from './micro/run.ts'
import { runPrograms } from './programs-part.ts'
import { selectWorkloads } from './workloads/index.ts'

const COUNTED_WRITES = 128

async function runCounts({ directory, memoryDirectory }: Settings): Promise<void> {
  const { disk } = openMedia(directory, memoryDirectory, () => {})
  const qemu = canTrace() ? qemuVersion() : undefined
  if (qemu === undefined)
    process.stderr.write('vmblock: qemu-img or strace is missing: only our own counts\n')
  console.log(await seedTable(disk.directory, qemu, { writes: COUNTED_WRITES, depth: 1 }))
}

function list({ words }: Settings): void {
  for (const { id, title } of selectWorkloads(words)) console.log(`${id.padEnd(48)} ${title}`)
}

/** Runs one part. @param root the repository @param args the command line */
export async function main(root: string, args: readonly string[]): Promise<void> {
  handleSignals()
  try {
    const settings = readCommandLine(root, args)
    if (!settings) process.stdout.write(HELP)
    else if (settings.part === 'counts') await runCounts(settings)
    else if (settings.part === 'micro') await runMicro(settings)
    else if (settings.part === 'growth') await runGrowth(settings)
    else if (settings.part === 'loop') await runLoop(settings)
    else if (settings.list) list(settings)
    else await runPrograms(settings)
  } catch (error) {
    const isTheirs = error instanceof UsageError
    process.stderr.write(`vmblock: ${isTheirs ? error.message : ((error as Error)?.stack ?? error)}\n`)
    process.exitCode = isTheirs ? 2 : 1
  }
}
