/** Before the tests of a file in a browser: it finds nothing of the files before it. */
import { beforeAll } from 'vitest'
import { clearStorage } from './origin-storage.ts'

beforeAll(clearStorage)
