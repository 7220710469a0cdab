/** Copies a disk into a new image. */
import { BlockError, type BlockNode, openNode } from '@vmblock/block-core'
import { requireCallback, requireFlag, requireOptions, requireText } from '@vmblock/block-core/driver'
import { copyDisk } from '../jobs/copy-disk.ts'
import { type JobSettings, runJob } from '../jobs/run-job.ts'
import type { CreationOptions } from '../options/creation.ts'
import { keyOptions, type Passphrases, requirePassphrases, secretsOf } from '../options/passphrases.ts'
import { type Platform, settingsOf } from '../platform/platform.ts'
import { type MakingOptions, planOf } from './create.ts'
import { closeOwn, openNodeOf, openOriginal } from './opened.ts'
import { makeImage } from './target.ts'

/** How a disk is converted: also the options of the new image's format. Progress is in bytes of the disk. */
export type ConvertOptions = MakingOptions &
  CreationOptions &
  JobSettings & {
    /** The format of the source. Default: found out from its content. */
    readonly sourceFormat?: string | undefined
    /** The passphrase of an encrypted source; a list has those of its backing files, too. */
    readonly sourcePassphrase?: Passphrases | undefined
    /**
     * Write the data compressed, each cluster by itself: for images that are kept or sent. Guests can write to them; what they
     * change is no longer compressed. qcow2 only. Default: no.
     */
    readonly compress?: boolean | undefined
  }

const CONVERT = {
  sourceFormat: requireText,
  sourcePassphrase: requirePassphrases,
  compress: requireFlag,
  onProgress: requireCallback,
}

/** See `convert` of the entries. */
export async function convertDisk(
  platform: Platform,
  source: unknown,
  target: unknown,
  options: unknown,
): Promise<void> {
  const { allow, signal, creation: given, passphrases, ...making } = planOf(options)
  const { sourceFormat, sourcePassphrase: passphrase, compress, onProgress, ...creation } = given
  requireOptions({ sourceFormat, sourcePassphrase: passphrase, compress, onProgress }, 'options', CONVERT)
  const sourcePassphrase = passphrase as Passphrases | undefined
  signal?.throwIfAborted()
  const settings = settingsOf(platform, { allow }, secretsOf({ ...passphrases, sourcePassphrase }))
  const keys = keyOptions('sourcePassphrase', sourcePassphrase)
  const format = sourceFormat as string | undefined
  const opening = { settings, format, keys, ...(!openNodeOf(source) && { readOnly: true }) }
  const from = await openOriginal(platform, source, opening)
  const job = { onProgress, signal } as JobSettings
  try {
    // The copy is the disk as it is at one moment.
    await from.node.withoutWrites(async () => {
      const made = await makeImage(
        platform,
        settings,
        target,
        { ...making, creation, compress: compress === true },
        from.node.size,
      )
      try {
        const image = await openNode(made.environment, made.image)
        await filled(image, async () => {
          if (image.size < from.node.size)
            throw new BlockError(
              'EINVAL',
              `Parameter 'size' makes a disk of ${image.size} bytes, and the source has ${from.node.size}`,
            )
          await runJob(
            (control) => copyDisk(from.node, image, platform.copying, control, compress === true),
            job,
          )
        })
      } catch (error) {
        // Half an image looks like a whole one.
        await made.created.remove().catch(() => undefined)
        throw error
      } finally {
        await closeOwn(made.backing)
      }
    })
  } finally {
    await closeOwn(from)
  }
}

/** Closes an image that `fill` has filled. One that could not be filled is dropped: closing would try writes again. */
async function filled(image: BlockNode, fill: () => Promise<void>): Promise<void> {
  try {
    await fill()
    await image.close()
  } catch (error) {
    await image.crash()
    throw error
  }
}
