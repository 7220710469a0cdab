/** Copies the bitmaps of an image into another one, for `convert --bitmaps`. */
import { type BitmapInfo, type BlockNode, bitmapsOf, messageOf } from '@vmblock/block-core'
import { Failure } from '@vmblock/cli'
import type { Call } from '../kit/command.ts'

interface CopyCall {
  readonly options: { readonly skipBrokenBitmaps?: true | undefined }
  readonly output: Call['output']
}

/**
 * The bitmaps of the only source that can be copied, in the order of its directory. QEMU looks at them in the opposite
 * order.
 *
 * @throws Failure if there are several sources, or a bitmap that was lost
 */
export async function bitmapsToCopy(
  { options, output }: CopyCall,
  [source, ...more]: readonly BlockNode[],
): Promise<readonly BitmapInfo[]> {
  if (more.length > 0) throw new Failure('Copying bitmaps only possible with single source')
  const bitmaps = bitmapsOf(source!)
  if (!(await bitmaps.isSupported())) throw new Failure('Source lacks bitmap support')
  const all = [...(await bitmaps.list())].reverse()
  for (const { name, inconsistent } of all) {
    if (!inconsistent) continue
    if (!options.skipBrokenBitmaps)
      throw new Failure(`Cannot copy inconsistent bitmap '${name}'`, {
        hint: "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
      })
    output.warn(`Skipping inconsistent bitmap '${name}'`)
  }
  return all.filter(({ inconsistent }) => !inconsistent).reverse()
}

/** Adds bitmaps to the target, with what they have recorded. @throws Failure */
export async function copyBitmaps(
  all: readonly BitmapInfo[],
  source: BlockNode,
  target: BlockNode,
): Promise<void> {
  if (all.length === 0) return
  const bitmaps = bitmapsOf(target)
  const present = new Set((await bitmaps.list()).map(({ name }) => name))
  const twice = all.findLast(({ name }) => present.has(name))
  if (twice) throw new Failure(`Failed to create bitmap ${twice.name}: Bitmap already exists: ${twice.name}`)
  for (const { name, granularity, enabled } of all) {
    const failed = (what: string) => (error: unknown) => {
      throw new Failure(`Failed to ${what} bitmap ${name}: ${messageOf(error)}`)
    }
    await bitmaps.add(name, { granularity, disabled: !enabled }).catch(failed('create'))
    await bitmaps.merge(name, name, source).catch(failed('populate'))
  }
}
