/** Which snapshots of an image are being read: what they lead to must stay where it is. */
import type { Snapshot } from '../format/snapshot-layout.ts'
import type { Image } from '../image/image.ts'

/** How many times the snapshots of an image are open, by the host offset of their L1 table. */
const open = new WeakMap<Image, Map<bigint, number>>()

/** Whether a snapshot is being read: then nothing of it may be freed or moved. */
export const isOpen = (image: Image, { l1TableOffset }: Snapshot): boolean =>
  (open.get(image)?.get(l1TableOffset) ?? 0) > 0

/** Whether any snapshot of an image is being read. */
export const hasOpenSnapshots = (image: Image): boolean => (open.get(image)?.size ?? 0) > 0

/** Counts a view that is opened, or closed. */
export function countView(image: Image, { l1TableOffset }: Snapshot, change: 1 | -1): void {
  const counts = open.get(image) ?? new Map<bigint, number>()
  open.set(image, counts)
  const now = (counts.get(l1TableOffset) ?? 0) + change
  if (now > 0) counts.set(l1TableOffset, now)
  else counts.delete(l1TableOffset)
}
