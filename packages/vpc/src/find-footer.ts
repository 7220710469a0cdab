/** Finds the footer that describes an image: at its end, where it belongs, or else the copy at its start. */
import { type BlockChild, BlockError, tailStart } from '@vmblock/block-core/driver'
import { FOOTER_BYTES, footerPlaces, hasCookie, SHORT_FOOTER_BYTES } from './format/cookie.ts'
import { DiskType, decodeFooter, type Footer } from './format/footer.ts'

/** A footer with a good checksum. */
export interface FoundFooter {
  readonly footer: Footer
  readonly bytes: Uint8Array
  /** Its offset in the file, in bytes; undefined: there is none at the end, and this is the copy at the start. */
  readonly at: number | undefined
  /** At the start are the same bytes, as images with blocks need it. */
  readonly hasCopy: boolean
}

/** The footer that begins at one of the places in the end of a file, with its distance from the start of `tail`. */
export function footerInTail(
  tail: Uint8Array,
): { readonly footer: Footer; readonly bytes: Uint8Array; readonly at: number } | 'damaged' | undefined {
  let isDamaged = false
  for (const at of footerPlaces(tail.length)) {
    const bytes = new Uint8Array(FOOTER_BYTES)
    bytes.set(tail.subarray(at, at + FOOTER_BYTES))
    const footer = decodeFooter(bytes)
    if (footer === 'damaged') isDamaged = true
    else if (footer) return { footer, bytes, at }
  }
  return isDamaged ? 'damaged' : undefined
}

const isSame = (a: Footer, b: Footer): boolean => a.idHigh === b.idHigh && a.idLow === b.idLow

/**
 * Finds the footer of a file. QEMU reads the copy first, and gives up if that is damaged.
 *
 * @throws BlockError EINVAL in QEMU's words; ENOTSUP for an unknown kind of image
 */
export async function findFooter(file: BlockChild): Promise<FoundFooter> {
  const { size } = file
  if (size < SHORT_FOOTER_BYTES) throw new BlockError('EINVAL', 'File too small for a VHD header')
  const start = tailStart(size)
  const head = new Uint8Array(FOOTER_BYTES)
  const tail = new Uint8Array(size - start)
  await file.read(0, head.subarray(0, Math.min(size, FOOTER_BYTES)))
  await file.read(start, tail)
  const copy = decodeFooter(head)
  const end = footerInTail(tail)
  const found = choose(copy, end)
  if (!found) {
    const isDamaged = hasCookie(head) || end === 'damaged'
    throw new BlockError('EINVAL', isDamaged ? 'Incorrect header checksum' : 'invalid VPC image')
  }
  const { type } = found.footer
  if (!Object.values<number>(DiskType).includes(type))
    throw new BlockError('ENOTSUP', `VHD images of type ${type} are not supported`)
  const isCopied = found === end && head.every((byte, i) => byte === end.bytes[i])
  if (found === end) return { ...end, at: start + end.at, hasCopy: isCopied }
  return { footer: found.footer, bytes: head, at: undefined, hasCopy: true }
}

/**
 * The copy counts where the end has none, or that of another image with blocks: then a crash took the footer, and what is
 * at the end is data. The data of a fixed image may begin like a copy, but nothing that it says is believed: it could name
 * files of the host.
 */
function choose(
  copy: ReturnType<typeof decodeFooter>,
  end: ReturnType<typeof footerInTail>,
): { readonly footer: Footer } | undefined {
  const first = typeof copy === 'object' && copy.type !== DiskType.fixed ? { footer: copy } : undefined
  if (typeof end !== 'object') return first
  return first && end.footer.type !== DiskType.fixed && !isSame(first.footer, end.footer) ? first : end
}
