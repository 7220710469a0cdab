/** URLs of disks: the URL to request, the login it contained, and the form in which it may be shown. */
import { BlockError } from '../base/errors.ts'

/** A URL that can be requested. */
export interface HttpAddress {
  /** The URL without login, which `fetch` refuses, and without fragment. */
  readonly url: string
  /** Value of the Authorization header, if the URL has a login. */
  readonly authorization: string | undefined
  /** For names and messages: without login, fragment and the content of the query. */
  readonly shown: string
  /** Removes the secrets of this URL from a text. */
  hide(text: string): string
  /** Whether the URL has secrets. */
  readonly hasSecrets: boolean
}

/** Schemes that cannot be read by ranges on any platform. */
const USELESS = /^(file|ftp|data|about|javascript|mailto|ws|wss):$/

/** The base of relative URLs; undefined outside of pages and workers. */
const base = (): string | undefined => {
  const { document, location } = globalThis as {
    document?: { readonly baseURI: string }
    location?: { readonly href: string }
  }
  return document?.baseURI ?? location?.href
}

function parse(url: string): URL | undefined {
  try {
    return new URL(url, base())
  } catch {
    return undefined
  }
}

/** A URL as names and messages may show it: a query may be a token, and a login is secret. */
export function shownUrl(url: string): string {
  const parsed = parse(url)
  const plain = !parsed
    ? url.replace(/^([a-z][a-z\d+.-]*:)?(\/\/)?.*@/is, '$1$2...@')
    : parsed.username || parsed.password
      ? `${parsed.protocol}//${parsed.host}${parsed.pathname}${parsed.search}`
      : url
  return plain.replace(/[?#].*$/s, (rest) => (rest.startsWith('?') ? '?...' : ''))
}

/**
 * Parses a URL.
 *
 * @param isAnyScheme whether a custom `fetch` makes the requests, which may know other schemes
 * @throws BlockError EINVAL for an invalid URL, without its secrets
 */
export function addressOf(url: string, isAnyScheme: boolean): HttpAddress {
  const shown = shownUrl(url)
  const parsed = parse(url)
  if (!parsed) throw new BlockError('EINVAL', `Could not read '${shown}': this is not a valid URL`)
  if (!isAnyScheme && USELESS.test(parsed.protocol))
    throw new BlockError(
      'EINVAL',
      `Could not read '${shown}': the http driver takes URLs of http and https, not of ${parsed.protocol.slice(0, -1)}`,
    )
  const { username, password, search, searchParams } = parsed
  const login = `${decoded(username)}:${decoded(password)}`
  const basic = login === ':' ? undefined : btoa(String.fromCharCode(...new TextEncoder().encode(login)))
  const secrets = [
    `${username}:${password}`,
    basic,
    search.slice(1),
    decoded(search.slice(1)),
    ...[username, password].flatMap((part) => [part, decoded(part)]),
    ...[...searchParams.values()].filter(({ length }) => length > 5),
  ].filter((secret): secret is string => secret !== undefined && secret !== ':' && secret.length > 1)
  // Longer secrets may contain shorter ones.
  secrets.sort((a, b) => b.length - a.length)
  parsed.username = parsed.password = parsed.hash = ''
  return {
    url: parsed.href,
    authorization: basic && `Basic ${basic}`,
    shown,
    hide: (text) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '...'), text),
    hasSecrets: secrets.length > 0,
  }
}

/** Decodes percent-escapes; returns the text unchanged if they are malformed. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
