import { tmpdir } from 'node:os'
import { describe, expect, it } from 'vitest'
import { LOOP_ROWS, loopTable, watchLoop } from './loop.ts'

describe('the event loop', () => {
  it.each(LOOP_ROWS)('is watched beside $name', async (row) => {
    const result = await watchLoop(row, tmpdir(), 1 / 64)
    expect(result.wall).toBeGreaterThan(0)
    expect(result.longest).toBeLessThanOrEqual(result.wall + 1000)
    expect(result.most).toBeGreaterThanOrEqual(result.p50)
    expect(loopTable([result])).toContain(row.name)
  })
})
