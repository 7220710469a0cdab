/** What a VHD tells the images above it. */

/** What a node of this driver says of itself, for overlays: see `info`. */
export interface ParentFacts {
  readonly uuid: string
  /** Seconds since 2000. */
  readonly timestamp: number
}

/** The facts of a VHD, from the facts of its format; undefined for another format. */
export function parentFacts(
  formatSpecific: { readonly type: string; readonly data: Readonly<Record<string, unknown>> } | undefined,
): ParentFacts | undefined {
  if (formatSpecific?.type !== 'vpc') return undefined
  const { uuid, timestamp } = formatSpecific.data
  return { uuid: String(uuid), timestamp: Number(timestamp) }
}
