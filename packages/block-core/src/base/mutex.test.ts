import { describe, expect, it } from 'vitest'
import { Mutex } from './mutex.ts'

describe('a mutex', () => {
  it('runs bodies one after the other, in the order of their calls', async () => {
    const mutex = new Mutex()
    const steps: string[] = []
    const body = (name: string, turns: number) => async () => {
      steps.push(`${name} begins`)
      for (let i = 0; i < turns; i++) await Promise.resolve()
      steps.push(`${name} ends`)
      return name
    }
    const results = await Promise.all([
      mutex.run(body('a', 9)),
      mutex.run(body('b', 0)),
      mutex.run(body('c', 3)),
    ])
    expect(results).toEqual(['a', 'b', 'c'])
    expect(steps).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })

  it('begins at once when it is free', () => {
    const mutex = new Mutex()
    let begun = false
    void mutex.run(async () => {
      begun = true
    })
    expect(begun).toBe(true)
    expect(mutex.locked).toBe(true)
  })

  it('goes on after a body that fails, and gives the failure to its caller alone', async () => {
    const mutex = new Mutex()
    const failed = mutex.run(() => Promise.reject(new Error('first')))
    const next = mutex.run(async () => 'second')
    await expect(failed).rejects.toThrow('first')
    expect(await next).toBe('second')
  })

  it('stays locked while bodies wait, and is free after the last', async () => {
    const mutex = new Mutex()
    const first = mutex.run(async () => {})
    const second = mutex.run(async () => expect(mutex.locked).toBe(true))
    await first
    expect(mutex.locked).toBe(true)
    await second
    await Promise.resolve()
    expect(mutex.locked).toBe(false)
  })

  it('costs nothing where nothing has to be waited for', async () => {
    const mutex = new Mutex()
    expect(mutex.run(() => 7)).toBe(7)
    expect(mutex.locked).toBe(false)
    expect(() =>
      mutex.run(() => {
        throw new Error('no')
      }),
    ).toThrow('no')
    expect(mutex.locked).toBe(false)
    // A call that finds the lock taken still waits.
    let end!: () => void
    const first = mutex.run(() => new Promise<void>((resolve) => (end = resolve)))
    const second = mutex.run(() => 8)
    expect(second).toBeInstanceOf(Promise)
    end()
    expect(await second).toBe(8)
    await first
  })
})
