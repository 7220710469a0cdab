/** The examples of the documentation that are of a page run in one; what they print is what the documentation says. */

import { examples } from 'virtual:doc-examples/page'
import { describe, expect, test } from 'vitest'
import { differences, takePrinted } from './src/printed.ts'

describe.each([...new Set(examples.map(({ page }) => page))])('%s', (page) => {
  test.each(examples.filter((example) => example.page === page))('line $line', async (example) => {
    await (await example.fixture()).prepare?.()
    takePrinted()
    await example.run()
    expect(differences(takePrinted(), example.codes, example.output)).toEqual([])
  })
})
