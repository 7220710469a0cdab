import { expect, test } from 'vitest'
import { loadOnce } from './load-once.ts'

test('a part is loaded once, for all callers', async () => {
  let loads = 0
  const load = loadOnce('this', async () => ({ number: ++loads }))
  expect(await Promise.all([load(), load()])).toEqual([{ number: 1 }, { number: 1 }])
  expect(await load()).toEqual({ number: 1 })
})

test('a part that cannot be loaded is an error of its own, and is tried again', async () => {
  const offline = new TypeError('no network')
  let fails = true
  const load = loadOnce('this', async () => {
    if (fails) throw offline
    return 1
  })
  await expect(load()).rejects.toMatchObject({
    name: 'BlockError',
    code: 'EIO',
    message: 'The code for this could not be loaded: no network',
    cause: offline,
  })
  fails = false
  expect(await load()).toBe(1)
})
