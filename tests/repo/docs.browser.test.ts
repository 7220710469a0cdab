/** The examples of the documentation that are of a page run in one; what they print is what the documentation says. */

import { examples } from 'virtual:doc-examples/page'
import { beforeAll, describe, expect, test } from 'vitest'
import { clearStorage } from '../support/origin-storage.ts'
import { differences, takePrinted } from './src/printed.ts'

describe.each([...new Set(examples.map(({ page }) => page))])('%s', (page) => {
  beforeAll(async () => {
    await clearStorage()
    await (await examples.find((example) => example.page === page)!.fixture()).prepare?.()
  })

  test.each(examples.filter((example) => example.page === page))('line $line', async (example) => {
    takePrinted()
    await example.run()
    expect(differences(takePrinted(), example.codes, example.output)).toEqual([])
  })
})
