/** `check`: looks for inconsistencies, repairs them on request; the exit status tells what remains. */
import {
  type BlockNode,
  type CheckFinding,
  type CheckReport,
  type FindingOwner,
  isBlockError,
  type NodeCheckOptions,
  type RepairMode,
} from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import { errorText } from '@vmblock/block-core/late'
import {
  cacheWord,
  choice,
  Failure,
  fixedText,
  flag,
  isJson,
  jsonOutput,
  oneImage,
  shared,
  usageFailure,
} from '@vmblock/cli'
import { openImage, requireCacheMode } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { runJob } from '../kit/job.ts'

/** Exit statuses besides 0 (consistent) and 1 (not checked). */
const CORRUPT = 2
const LEAKING = 3
const UNSUPPORTED = 63

const repair = choice<RepairMode>(
  ['leaks', 'all'],
  (text) => usageFailure(`Unknown option value for -r (expecting 'leaks' or 'all'): ${text}`),
  {
    short: 'r',
    long: 'repair',
    argument: 'leaks|all',
    help: "repair: 'leaks' gives back clusters that nothing uses, 'all' mends whatever can be mended",
  },
)

const options = {
  imageOpts: shared.imageOpts,
  quiet: shared.quiet,
  format: shared.format,
  output: shared.output,
  findings: flag({
    long: 'findings',
    help: 'add to the JSON what is else printed as lines: what was found, where, and whether it was repaired',
  }),
  repair,
  cache: cacheWord('src_cache', { short: 'T', newer: ['cache'], help: 'how the image is cached' }),
  forceShare: shared.forceShare,
} as const

type CheckCall = Call<typeof options>

/** The subcommand. */
export const check = defineCommand({
  name: 'check',
  summary: 'look for inconsistencies, and repair them',
  details: [
    'Compares the reference counts of an image with what its tables use. Exit status: 0 all is well, 1 the check',
    'failed, 2 the image is damaged, 3 it only wastes space, 63 images of this format cannot be checked.',
  ],
  operandHelp: { filename: 'the image; nothing may be using it while it is repaired' },
  example: 'check -r leaks disk.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: CheckCall): Promise<number> {
  const { options } = call
  const filename = oneImage(call)
  const json = isJson(options.output)
  if (options.findings && !json)
    throw new Failure('--findings can only be used with --output=json: otherwise each is printed as a line')
  const cache = requireCacheMode(options.cache, 'source cache option')
  const node = await openImage(call, {
    name: filename,
    format: options.format,
    imageOpts: options.imageOpts,
    forceShare: options.forceShare,
    cache,
    write: options.repair !== undefined,
    extra: { 'check-mode': true },
  })
  return checkNode(call, node, filename, json)
}

async function checkNode(call: CheckCall, node: BlockNode, filename: string, json: boolean): Promise<number> {
  const { options, output } = call
  if (!node.can('check'))
    throw new Failure('This image format does not support checks', { status: UNSUPPORTED })
  const findings = options.findings && new FindingList()
  let report = await look(call, node, options.repair, findings)
  if (report.corruptionsFixed > 0 || report.leaksFixed > 0) {
    const { corruptionsFixed, leaksFixed } = report
    if (!json && !options.quiet)
      output.print(
        `The following inconsistencies were found and repaired:\n\n    ${leaksFixed} leaked clusters\n` +
          `    ${corruptionsFixed} corruptions\n\nDouble checking the fixed image now...\n`,
      )
    report = { ...(await look(call, node, undefined, findings)), corruptionsFixed, leaksFixed }
  }
  if (!options.quiet)
    output.print(json ? jsonReport(report, filename, node.driver.name, findings) : humanReport(report))
  if (report.checkErrors > 0) throw new Failure('Check failed')
  if (report.corruptions > 0) return CORRUPT
  return report.leaks > 0 ? LEAKING : 0
}

/** @param findings takes the findings; they are printed in any case */
async function look(
  call: CheckCall,
  node: BlockNode,
  repair: RepairMode | undefined,
  findings: FindingList | undefined,
): Promise<CheckReport> {
  const { output } = call
  const options: NodeCheckOptions = {
    ...(repair && { repair }),
    report: (finding) => {
      findings?.add(finding)
      if (!finding.silent) output.note(finding.message)
    },
    // The check ends without a result to which it could be added.
    reportFailure: ({ message }) => output.error(message),
  }
  try {
    return await runJob(call, (control) => node.check(options, control))
  } catch (error) {
    if (error instanceof Failure) throw error
    if (isBlockError(error, 'ENOTSUP'))
      throw new Failure('This image format does not support checks', { status: UNSUPPORTED })
    throw new Failure(`Check failed: ${errorText(error)}`)
  }
}

function jsonReport(
  report: CheckReport,
  filename: string,
  format: string,
  findings: FindingList | undefined,
): string {
  const some = (count: number | undefined): number | undefined => count || undefined
  const check = {
    filename,
    format,
    'check-errors': report.checkErrors,
    'image-end-offset': some(report.imageEndOffset),
    corruptions: some(report.corruptions),
    leaks: some(report.leaks),
    'corruptions-fixed': some(report.corruptionsFixed),
    'leaks-fixed': some(report.leaksFixed),
    'total-clusters': some(report.totalClusters),
    'allocated-clusters': some(report.allocatedClusters),
    'fragmented-clusters': some(report.fragmentedClusters),
    'compressed-clusters': some(report.compressedClusters),
    findings: findings?.findings.map(jsonFinding),
    'omitted-findings': some(findings?.omitted),
  }
  return jsonOutput(check)
}

function jsonFinding({
  what,
  kind,
  offset,
  bytes,
  owner,
  repaired,
  dataAtRisk,
  message,
}: CheckFinding): object {
  return {
    what,
    kind,
    offset,
    bytes,
    owner: owner && jsonOwner(owner),
    repaired,
    'data-at-risk': dataAtRisk,
    message,
  }
}

const jsonOwner = ({ guestOffset, ...owner }: FindingOwner): object => ({
  ...owner,
  'guest-offset': guestOffset,
})

function humanReport(report: CheckReport): string {
  const { corruptions, leaks, checkErrors, imageEndOffset } = report
  const { totalClusters, allocatedClusters, fragmentedClusters = 0, compressedClusters = 0 } = report
  const parts: string[] = []
  if (corruptions === 0 && leaks === 0 && checkErrors === 0)
    parts.push('No errors were found on the image.\n')
  if (corruptions > 0)
    parts.push(
      `\n${corruptions} errors were found on the image.\n` +
        'Data may be corrupted, or further writes to the image may corrupt it.\n',
    )
  if (leaks > 0)
    parts.push(
      `\n${leaks} leaked clusters were found on the image.\n` +
        'This means waste of disk space, but no harm to data.\n',
    )
  if (checkErrors > 0) parts.push(`\n${checkErrors} internal errors have occurred during the check.\n`)
  if (totalClusters && allocatedClusters) {
    const share = (count: number, of: number): string => fixedText((count * 100) / of, 2)
    parts.push(
      `${allocatedClusters}/${totalClusters} = ${share(allocatedClusters, totalClusters)}% allocated, ` +
        `${share(fragmentedClusters, allocatedClusters)}% fragmented, ` +
        `${share(compressedClusters, allocatedClusters)}% compressed clusters\n`,
    )
  }
  if (imageEndOffset) parts.push(`Image end offset: ${imageEndOffset}\n`)
  return parts.join('')
}
