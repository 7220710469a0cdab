import { describe, expect, it } from 'vitest'
import { FlushFailure, RequestLoop, type RequestPlan } from './request-loop.ts'

const PLAN: RequestPlan = {
  count: 12,
  depth: 3,
  offset: 0,
  step: 1,
  wrap: 100,
  flushInterval: 0,
  drains: true,
}

/** Runs a plan whose requests end in order: one microtask after each was sent. */
async function record(plan: Partial<RequestPlan>, fails: (what: string) => boolean = () => false) {
  const said: string[] = []
  let [inFlight, most] = [0, 0]
  const step = async (what: string): Promise<void> => {
    said.push(what)
    most = Math.max(most, ++inFlight)
    await Promise.resolve()
    inFlight--
    if (fails(what)) throw new Error(what)
  }
  const loop = new RequestLoop(
    { ...PLAN, ...plan },
    { send: (offset) => step(`${offset}`), flush: () => step('F') },
  )
  const failure = await loop.run().then(
    () => loop.flushed().catch((error: unknown) => error),
    (error: unknown) => error,
  )
  return { said: said.join(' '), most, failure }
}

describe('a loop of requests', () => {
  it('keeps so many in flight and starts over at the end of the disk', async () => {
    expect(await record({ offset: 4, step: 3, wrap: 8, count: 5 })).toEqual({
      said: '4 7 2 5 0',
      most: 3,
      failure: undefined,
    })
    expect((await record({ wrap: 0, count: 2 })).said).toBe('0 0')
    expect((await record({ count: 0 })).said).toBe('')
  })

  it('lets what is in flight end before a flush, and the flush before what follows', async () => {
    const { said, most } = await record({ flushInterval: 4 })
    expect(said).toBe('0 1 2 3 F 4 5 6 7 F 8 9 10 11 F')
    expect(most).toBe(3)
  })

  it('flushes beside the requests where it may not wait', async () => {
    const { said } = await record({ flushInterval: 4, drains: false })
    expect(said).toBe('0 1 2 3 F 4 5 6 7 F 8 9 10 11 F F F')
  })

  it('sends nothing after a failure', async () => {
    expect(await record({}, (what) => what === '4')).toMatchObject({ failure: new Error('4') })
    const request = await record({ flushInterval: 4 }, (what) => what === '1')
    expect(request.said).toBe('0 1 2 3')
    const flush = await record({ flushInterval: 4 }, (what) => what === 'F')
    expect(flush).toMatchObject({ said: '0 1 2 3 F', failure: new Error('F') })
  })

  it('tells a flush that no caller waited for from a request', async () => {
    const { failure } = await record({ flushInterval: 4, drains: false }, (what) => what === 'F')
    expect(failure).toBeInstanceOf(FlushFailure)
    expect((failure as FlushFailure).cause).toEqual(new Error('F'))
  })

  it('tells of a failure of the flush after the last request', async () => {
    let flushes = 0
    const { failure } = await record({ flushInterval: 4 }, (what) => what === 'F' && ++flushes === 3)
    expect(failure).toEqual(new Error('F'))
  })
})
