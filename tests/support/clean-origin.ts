/** Runs before the tests of a file in a browser, and removes what earlier files stored. */
import { beforeAll } from 'vitest'
import { clearStorage } from './origin-storage.ts'

beforeAll(clearStorage)
