/** `compact`: makes an image file shorter in place, which QEMU's program can only do by a full copy. */
import { type CompactReport, messageOf } from '@vmblock/block-core'
import { Failure, oneImage, shared } from '@vmblock/cli'
import { openImage } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { runJob } from '../kit/job.ts'
import { startProgress } from '../kit/progress.ts'
import { humanSize } from '../text/human-size.ts'

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 1

const options = {
  imageOpts: shared.imageOpts,
  progress: shared.progress,
  quiet: shared.quiet,
  format: shared.shortFormat,
} as const

/** The subcommand. */
export const compact = defineCommand({
  name: 'compact',
  summary: 'make an image file shorter, in place',
  details: [
    'Moves what lies at the end of the file into free clusters, and cuts the file off. It may be interrupted at any',
    'time. QEMU has no such command: its convert copies the image, and leaves snapshots behind.',
  ],
  operandHelp: { filename: 'the image' },
  example: 'compact -p disk.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: Call<typeof options>): Promise<number> {
  const { options, output, images } = call
  const name = oneImage(call)
  const { format, imageOpts } = options
  const node = await openImage(call, { name, format, imageOpts, write: true, extra: { discard: 'unmap' } })
  if (!node.can('compact'))
    throw new Failure(`Format driver '${node.driver.name}' does not support compacting`)
  const progress = startProgress(call, MIN_SKIP)
  progress.set(0)
  const report = await runJob(
    call,
    (control) => node.compact(control),
    // Beginning and end are printed once each, here.
    (done, total) => {
      progress.ofBytes(total)
      if (done > 0 && done < total) progress.setPart(done, total)
    },
  ).catch((error: unknown) => {
    throw error instanceof Failure ? error : new Failure(`Could not compact '${name}': ${messageOf(error)}`)
  })
  progress.set(100)
  progress.end()
  const status = await images.close(0)
  if (status === 0 && !options.quiet) output.print(textOf(report))
  return status
}

/** What was moved, how much shorter the file is, and what is left. */
function textOf({ sizeBefore, sizeAfter, movedBytes, leftBytes }: CompactReport): string {
  const shorter = sizeBefore - sizeAfter
  const done =
    shorter > 0
      ? `${humanSize(movedBytes)} moved, the file is ${humanSize(shorter)} shorter (${humanSize(sizeAfter)}).`
      : `${humanSize(movedBytes)} moved, the file is not shorter (${humanSize(sizeAfter)}).`
  const left =
    leftBytes > 0
      ? `${humanSize(leftBytes)} at the end could not be moved; 'check' tells if they are leaks.\n`
      : ''
  return `Image compacted: ${done}\n${left}`
}
