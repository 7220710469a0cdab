import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { isBlockError } from '../base/errors.ts'
import type { JobControl } from '../contract/job-control.ts'
import { Job } from './job.ts'

/** A promise that the test resolves. */
function later(): { readonly promise: Promise<void>; resolve(): void } {
  let resolve!: () => void
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}

/** An operation of so many pieces, each of which waits for a turn; says which it has begun. */
function pieces(count: number) {
  const begun: number[] = []
  const operation = async (control: JobControl): Promise<string> => {
    for (let piece = 0; piece < count; piece++) {
      control.report(piece, count)
      const held = control.checkpoint()
      if (held) await held
      begun.push(piece)
      await turn()
    }
    control.report(count, count)
    return 'all'
  }
  return { begun, operation }
}

describe('a job', () => {
  it('has the result of its operation, and tells how far it is', async () => {
    const { operation } = pieces(3)
    const told: string[] = []
    const job: Job<string> = new Job(operation, {
      // The caller has the job when the first report comes.
      onProgress: (done, total) => told.push(`${done}/${total} ${job.progress.done}`),
    })
    expect(job.progress).toEqual({ done: 0, total: 0 })
    expect(await job.done).toBe('all')
    expect(told).toEqual(['0/3 0', '1/3 1', '2/3 2', '3/3 3'])
  })

  it('waits at a checkpoint only if there is a reason to', async () => {
    const answers: unknown[] = []
    const operation = async (control: JobControl): Promise<void> => {
      answers.push(control.checkpoint())
      void job.pause()
      answers.push(control.checkpoint())
      job.resume()
      answers.push(control.checkpoint())
    }
    const job: Job<void> = new Job(operation)
    await job.done
    expect(answers).toEqual([undefined, expect.any(Promise), undefined])
  })

  it('fails with the error of its operation, which nobody has to look at', async () => {
    const error = new Error('disk on fire')
    const job = new Job(() => Promise.reject(error))
    new Job(() => Promise.reject(error))
    await turn()
    await expect(job.done).rejects.toBe(error)
    const thrower = (): never => {
      throw error
    }
    const { operation } = pieces(1)
    await expect(new Job(operation, { onProgress: thrower }).done).rejects.toBe(error)
  })
})

describe('a paused job', () => {
  it('stands still once its requests are drained, until it is resumed', async () => {
    const request = later()
    let goesOn = false
    const job = new Job(async (control) => {
      await control.checkpoint(() => request.promise)
      goesOn = true
    })
    let isStill = false
    const still = job.pause().then(() => (isStill = true))
    expect(job.isPaused).toBe(true)
    await turn()
    expect(isStill).toBe(false)
    request.resolve()
    await still
    await job.pause()
    await turn()
    expect([job.isPaused, goesOn]).toEqual([true, false])
    job.resume()
    await job.done
    expect([job.isPaused, goesOn]).toEqual([false, true])
  })

  it('can be paused again before it has noticed that it was resumed', async () => {
    const { begun, operation } = pieces(2)
    const job = new Job(operation)
    await job.pause()
    job.resume()
    await job.pause()
    expect(begun).toEqual([])
    job.resume()
    expect(await job.done).toBe('all')
  })

  it('keeps no caller waiting that has ended, or was resumed before it stood still', async () => {
    const request = later()
    const job = new Job(() => request.promise)
    const resumed = job.pause()
    job.resume()
    await resumed
    const ended = job.pause()
    request.resolve()
    await ended
    await job.pause()
    expect(job.isPaused).toBe(false)
  })

  it('can be cancelled', async () => {
    const { begun, operation } = pieces(2)
    const job = new Job(operation)
    await job.pause()
    await job.cancel()
    expect([begun, job.isPaused]).toEqual([[], false])
    await expect(job.done).rejects.toThrow('Operation canceled')
  })
})

describe('a cancelled job', () => {
  it('begins no further piece, and fails with the reason', async () => {
    const { begun, operation } = pieces(9)
    const job: Job<string> = new Job(operation, { onProgress: (done) => done === 2 && job.cancel() })
    const error = await job.done.catch((reason: unknown) => reason)
    expect(isBlockError(error, 'ECANCELED')).toBe(true)
    expect(begun).toEqual([0, 1])
  })

  it('drains its requests first', async () => {
    const request = later()
    let cancelled: Promise<unknown> | undefined
    let hasEnded = false
    const job: Job<void> = new Job(async (control) => {
      cancelled = job.cancel('enough').then(() => (hasEnded = true))
      await control.checkpoint(() => request.promise)
    })
    await turn()
    expect(hasEnded).toBe(false)
    request.resolve()
    await cancelled
    await expect(job.done).rejects.toBe('enough')
  })

  it('fails with the reason even if a driver puts its own words around it', async () => {
    const job = new Job(async (control) => {
      await turn()
      await Promise.resolve(control.checkpoint()).catch(() => {
        throw new Error('Failed to turn zero into data clusters')
      })
    })
    await Promise.resolve()
    await job.cancel('enough')
    await expect(job.done).rejects.toBe('enough')
  })

  it('has its result if it ends well all the same', async () => {
    const job = new Job(async () => {
      await turn()
      return 5
    })
    await Promise.resolve()
    await job.cancel()
    expect(await job.done).toBe(5)
  })

  it('that has ended stays as it is', async () => {
    const abort = new AbortController()
    let seen: JobControl | undefined
    const operation = async (control: JobControl): Promise<number> => {
      seen = control
      return 5
    }
    const job = new Job(operation, { signal: abort.signal })
    expect(await job.done).toBe(5)
    await job.cancel()
    abort.abort()
    expect(await job.done).toBe(5)
    expect(seen?.signal?.aborted).toBe(false)
  })

  it('may be cancelled by a signal: before it begins, or later', async () => {
    const { begun, operation } = pieces(9)
    await expect(new Job(operation, { signal: AbortSignal.abort('early') }).done).rejects.toBe('early')
    expect(begun).toEqual([])
    const abort = new AbortController()
    const onProgress = (done: number): unknown => done === 1 && abort.abort('later')
    await expect(new Job(operation, { signal: abort.signal, onProgress }).done).rejects.toBe('later')
    expect(begun).toEqual([0])
  })
})
