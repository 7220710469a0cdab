/** What the headers of an answer say (RFC 9110, sections 8.8, 10.2.3 and 14.4): pure reading, no requests. */

/** `Content-Range`: a part, or (with a status of 416) that there is none. Offsets in bytes, `last` is part of it. */
export interface ContentRange {
  readonly first?: number
  readonly last?: number
  /** Bytes of the whole; undefined where the server does not know (`*`). */
  readonly size: number | undefined
}

/** Reads `Content-Range`: units in any case, blanks wherever servers put them. @returns undefined for what is none */
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

/** What tells one version of a file from another; the empty string where the server does not say. */
export interface Version {
  /** Bytes; undefined where the server does not say. */
  size: number | undefined
  etag: string
  modified: string
}

/** What an answer says of the version of its file. */
export const versionOf = (headers: Headers, size: number | undefined): Version => ({
  size,
  etag: headers.get('etag')?.trim() ?? '',
  modified: headers.get('last-modified')?.trim() ?? '',
})

const isWeak = (etag: string): boolean => /^w\//i.test(etag)
const opaque = (etag: string): string => etag.replace(/^w\//i, '')

/**
 * Whether two answers are of one version. What an answer does not say is no difference. `doubtful`: tags that are weak,
 * or dates, differ. Mirrors of one file do that too, so it needs another look.
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

/** The first difference of two versions, in words. */
export function differenceOf(known: Version, found: Version): string {
  if (known.size !== undefined && found.size !== undefined && known.size !== found.size)
    return `it had ${known.size} bytes, and has ${found.size}`
  return known.etag !== '' && found.etag !== ''
    ? `its ETag was ${known.etag}, and is ${found.etag}`
    : `it was last modified ${known.modified}, and now ${found.modified}`
}

/** Milliseconds that `Retry-After` asks to wait, by the server's own clock where it is a date; 0 where it says nothing. */
export function retryAfterOf(headers: Headers): number {
  const text = headers.get('retry-after')?.trim() ?? ''
  if (/^\d+$/.test(text)) return Number(text) * 1000
  const date = headers.get('date')
  // Anything that is no date may be taken for one.
  if (!/^[a-z]{3,}, /i.test(text)) return 0
  return Math.max(Date.parse(text) - (date === null ? Date.now() : Date.parse(date)) || 0, 0)
}
