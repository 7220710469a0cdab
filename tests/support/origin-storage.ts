/** What a page of the tests may store, and has stored. All of them are of one origin, one after the other. */
import { cdp } from 'vitest/browser'

const storage = (method: string, parameters: object = {}): Promise<unknown> =>
  (cdp() as unknown as { send(method: string, params: object): Promise<unknown> }).send(`Storage.${method}`, {
    origin: location.origin,
    ...parameters,
  })

/** Sets the bytes that the page may store; without a number, what it could before. */
export const quota = (bytes?: number): Promise<unknown> =>
  storage('overrideQuotaForOrigin', bytes === undefined ? {} : { quotaSize: bytes })

/** Removes what pages before this one stored, and what they could not. */
export async function clearStorage(): Promise<void> {
  await quota()
  await storage('clearDataForOrigin', { storageTypes: 'file_systems,indexeddb' })
}
