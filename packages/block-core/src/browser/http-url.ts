/** Addresses of disks: what is asked for, the login that stood in it, and what of it may be shown. */
import { BlockError } from '../errors.ts'

/** An address that can be asked. */
export interface HttpAddress {
  /** Without a login, which `fetch` refuses, and without a fragment. */
  readonly url: string
  /** The header that the login stands for. */
  readonly authorization: string | undefined
  /** For names and messages: no login, and nothing of the query. */
  readonly shown: string
  /** A text of somebody else's without the secrets of this address. */
  hide(text: string): string
  /** Whether there is anything to be hidden. */
  readonly hasSecrets: boolean
}

/** Schemes that nothing can be read from by ranges, wherever this runs. */
const USELESS = /^(file|ftp|data|about|javascript|mailto|ws|wss):$/

/** What addresses of a page are relative to; undefined outside of pages and workers. */
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

/** An address as names and messages may show it: a query may be a token, and a login is nobody else's business. */
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
 * Takes an address apart.
 *
 * @param isAnyScheme whoever makes the requests knows more schemes than the host does
 * @throws BlockError EINVAL for what is none, without showing it all
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
  // Longer ones may hold shorter ones.
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

/** Percent signs resolved, where they mean anything. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
