/** Parses the headers of HTTP responses (RFC 9110, sections 8.8, 10.2.3 and 14.4). Pure. */

/** `Content-Range`: a range, or (with status 416) only the size. Offsets in bytes; `last` is inclusive. */
export interface ContentRange {
  readonly first?: number
  readonly last?: number
  /** Bytes of the whole file; undefined if the server does not know (`*`). */
  readonly size: number | undefined
}

/** Parses `Content-Range`: units in any case, blanks anywhere. @returns undefined if absent or malformed */
export function contentRangeOf(headers: Headers): ContentRange | undefined {
  const text = headers.get('content-range') ?? ''
  const match = /^\s*bytes(?:\s+|\s*[=:]\s*)(?:(\d+)\s*-\s*(\d+)|\*)\s*\/\s*(?:(\d+)|\*)\s*$/i.exec(text)
  if (!match) return undefined
  const [, first, last, size] = match
  return {
    ...(first !== undefined && { first: Number(first), last: Number(last) }),
    size: size === undefined ? undefined : Number(size),
  }
}

/** Distinguishes versions of a file; strings are empty if the server does not send them. */
export interface Version {
  /** Bytes; undefined if the server does not say. */
  size: number | undefined
  etag: string
  modified: string
}

/** The version of the file that a response describes. */
export const versionOf = (headers: Headers, size: number | undefined): Version => ({
  size,
  etag: headers.get('etag')?.trim() ?? '',
  modified: headers.get('last-modified')?.trim() ?? '',
})

const isWeak = (etag: string): boolean => /^w\//i.test(etag)
const opaque = (etag: string): string => etag.replace(/^w\//i, '')

/**
 * Whether two responses are of one version. A missing value is no difference. `doubtful`: weak tags or dates
 * differ. Those of mirrors of one file may differ too, so this must be checked again.
 */
export function compareVersions(known: Version, found: Version): 'same' | 'doubtful' | 'changed' {
  if (known.size !== undefined && found.size !== undefined && known.size !== found.size) return 'changed'
  const haveTags = known.etag !== '' && found.etag !== ''
  if (haveTags) {
    if (opaque(known.etag) === opaque(found.etag)) return 'same'
    if (!isWeak(known.etag) && !isWeak(found.etag)) return 'changed'
  }
  const haveDates = known.modified !== '' && found.modified !== ''
  if (haveDates) return known.modified === found.modified ? 'same' : 'doubtful'
  return haveTags ? 'doubtful' : 'same'
}

/** Describes the first difference of two versions. */
export function differenceOf(known: Version, found: Version): string {
  if (known.size !== undefined && found.size !== undefined && known.size !== found.size)
    return `it had ${known.size} bytes, and has ${found.size}`
  return known.etag !== '' && found.etag !== ''
    ? `its ETag was ${known.etag}, and is ${found.etag}`
    : `it was last modified ${known.modified}, and now ${found.modified}`
}

/**
 * The wait that `Retry-After` requests, in milliseconds; a date counts by the server's clock; 0 if absent.
 */
export function retryAfterOf(headers: Headers): number {
  const text = headers.get('retry-after')?.trim() ?? ''
  if (/^\d+$/.test(text)) return Number(text) * 1000
  const date = headers.get('date')
  // Date.parse accepts many texts that are not dates.
  if (!/^[a-z]{3,}, /i.test(text)) return 0
  return Math.max(Date.parse(text) - (date === null ? Date.now() : Date.parse(date)) || 0, 0)
}
