/**
 * The storage of the tests' pages: its quota, and its contents. All pages share one origin, one after the
 * other.
 */
import { cdp } from 'vitest/browser'

const storage = (method: string, parameters: object = {}): Promise<unknown> =>
  (cdp() as unknown as { send(method: string, params: object): Promise<unknown> }).send(`Storage.${method}`, {
    origin: location.origin,
    ...parameters,
  })

/** Sets the quota of the page in bytes; without a number, restores the original. */
export const quota = (bytes?: number): Promise<unknown> =>
  storage('overrideQuotaForOrigin', bytes === undefined ? {} : { quotaSize: bytes })

/** Removes the storage of earlier pages, and a quota they set. */
export async function clearStorage(): Promise<void> {
  await quota()
  await storage('clearDataForOrigin', { storageTypes: 'file_systems,indexeddb' })
}
