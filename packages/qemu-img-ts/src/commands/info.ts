/** `info`: prints facts about an image, for people or as JSON. Opens no files that the image refers to. */
import type { BlockNode, ImageResolver, OpenEnvironment } from '@vmblock/block-core'
import { resolveBackingFilename } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { cacheWord, Failure, flag, isJson, jsonOutput, oneImage, shared } from '@vmblock/cli'
import { bottomFilename, type ImageRequest, openBriefly, requireCacheMode } from '../images/image.ts'
import { listSnapshots } from '../images/snapshot-list.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { humanInfo, type ImageInfo, snapshotFacts } from '../text/info-text.ts'
import { limitFacts } from '../text/limits-text.ts'

const options = {
  imageOpts: shared.imageOpts,
  format: shared.format,
  output: shared.output,
  backingChain: flag({
    long: 'backing-chain',
    help: 'also its backing file, and the one of that, and so on',
  }),
  limits: flag({
    newer: ['limits'],
    help: 'also what the image and its file ask of requests; depends on how they are cached',
  }),
  cache: cacheWord('cache', { newer: ['t', 'cache'], help: 'how the image is cached' }),
  forceShare: shared.forceShare,
} as const

type InfoCall = Call<typeof options>

/** The subcommand. */
export const info = defineCommand({
  name: 'info',
  summary: 'say what an image is',
  details: [
    'Prints the format, the size of the disk, the space that the file takes, and what else the format knows: its',
    'options, snapshots, bitmaps.',
  ],
  operandHelp: { filename: 'the image' },
  example: 'info --backing-chain overlay.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: InfoCall): Promise<number> {
  const { options, output } = call
  const filename = oneImage(call)
  const json = isJson(options.output)
  const list = await collect(call, filename)
  if (!json) output.print(list.map((image) => humanInfo(image, (name) => output.shown(name))).join('\n'))
  else output.print(jsonOutput(options.backingChain ? list : list[0]))
  return 0
}

async function collect(call: InfoCall, filename: string): Promise<ImageInfo[]> {
  const { options } = call
  const cache = requireCacheMode(options.cache, 'cache option')
  const list: ImageInfo[] = []
  const seen = new Set<string>()
  let request: ImageRequest | undefined = {
    name: filename,
    format: options.format,
    imageOpts: options.imageOpts,
    forceShare: options.forceShare,
    cache,
  }
  while (request) {
    if (seen.has(request.name)) throw new Failure(`Backing file '${request.name}' creates an infinite loop.`)
    seen.add(request.name)
    const image = await inspect(call, request)
    list.push(image)
    if (!options.backingChain) break
    const next = nextRequest(image, options.forceShare)
    request = next && { ...next, cache }
  }
  return list
}

function nextRequest(image: ImageInfo, forceShare: true | undefined): ImageRequest | undefined {
  const name = image['full-backing-filename']
  if (name !== undefined) return { name, format: image['backing-filename-format'], forceShare }
  if (image['backing-filename'] === undefined) return undefined
  throw new Failure(
    `Could not determine absolute backing filename, but backing filename '${image['backing-filename']}' present`,
  )
}

/** An environment that replaces backing and data files by empty disks: they do not matter here, but extents do. */
function withEmptyChildren(environment: OpenEnvironment): OpenEnvironment {
  const resolve: ImageResolver['resolve'] = async (reference, parent, role) =>
    role.startsWith('extents.') ? environment.host.resolve(reference, parent, role) : { driver: 'null-co' }
  return { ...environment, host: { resolve } }
}

async function inspect(call: InfoCall, request: ImageRequest): Promise<ImageInfo> {
  const node = await openBriefly(
    call,
    { ...request, extra: { 'no-io': true } },
    withEmptyChildren(call.environment),
  )
  try {
    const facts = await describe(node)
    return call.options.limits ? { ...facts, limits: limitFacts(node) } : facts
  } catch (error) {
    throw error instanceof Failure ? error : new Failure(errorText(error))
  } finally {
    await node.close()
  }
}

async function describe(node: BlockNode): Promise<ImageInfo> {
  const facts = await node.info()
  const snapshots = await listSnapshots(node)
  const actualSize = facts.actualSize ?? (await node.file?.node.info())?.actualSize
  const { backingFilename } = facts
  return {
    filename: node.filename,
    format: node.driver.name,
    'virtual-size': node.size,
    ...(actualSize !== undefined && { 'actual-size': actualSize }),
    ...(facts.encrypted && { encrypted: true }),
    ...(facts.clusterSize !== undefined && { 'cluster-size': facts.clusterSize }),
    'dirty-flag': facts.dirty ?? false,
    ...(backingFilename !== undefined && {
      'backing-filename': backingFilename,
      ...fullName(node, backingFilename),
    }),
    ...(backingFilename !== undefined &&
      facts.backingFormat !== undefined && { 'backing-filename-format': facts.backingFormat }),
    ...(snapshots.length > 0 && { snapshots: snapshots.map(snapshotFacts) }),
    // What the node below a filter is like is not told of the filter.
    ...(facts.formatSpecific && node.driver.kind !== 'filter' && { 'format-specific': facts.formatSpecific }),
  }
}

function fullName(node: BlockNode, name: string): { readonly 'full-backing-filename'?: string } {
  try {
    const full = resolveBackingFilename(bottomFilename(node), name)
    return full === undefined ? {} : { 'full-backing-filename': full }
  } catch {
    // A relative name in an image that has no name itself.
    return {}
  }
}
