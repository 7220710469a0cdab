/**
 * A worker with an emulator's guest in it, which has its disk to itself, and is killed in the midst of its
 * work.
 */
import { stamped } from '@vmblock/block-core/testing'
import { type Plan, SECTOR, type Step, stepsOf } from './guest-plan.ts'
import { openImage, STORES } from './store.ts'

/** The order that a guest gets. */
export interface GuestOrder {
  /** Name of the store's driver. */
  readonly store: string
  readonly filename: string
  readonly plan: Plan
}

/** Its report: how many requests were made, and how many of them are durable; or the failure. */
export type GuestNews = { readonly made: number; readonly flushed: number } | { readonly failed: string }

/** Number of concurrent requests. */
const LANES = 3

type Change = Exclude<Step, { readonly kind: 'flush' }>

async function live({ store, filename, plan }: GuestOrder, say: (news: GuestNews) => void): Promise<void> {
  const node = await openImage(STORES.find(({ name }) => name === store)!, filename)
  const steps = stepsOf(plan)
  const running: { readonly step: Change; readonly done: Promise<void> }[] = []
  const rest = (): Promise<unknown> => Promise.all(running.splice(0).map(({ done }) => done))
  const touches = (a: Change, b: Change): boolean =>
    a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
  let flushed = 0
  say({ made: 0, flushed })
  for (const [index, step] of steps.entries()) {
    if (step.kind === 'flush') {
      await rest()
      await node.flush()
      flushed = index
    } else {
      if (running.length === LANES || running.some((other) => touches(other.step, step))) await rest()
      const { kind, offset, bytes, stamp } = step
      const done =
        kind === 'zero'
          ? node.writeZeroes(offset, bytes, { mayUnmap: true })
          : node.write(offset, stamped(offset, bytes, stamp, SECTOR))
      running.push({ step, done })
    }
    say({ made: index + 1, flushed })
  }
  await rest()
}

addEventListener('message', ({ data }: MessageEvent<GuestOrder>) => {
  const say = (news: GuestNews): void => postMessage(news)
  live(data, say).catch((error: unknown) => say({ failed: String(error) }))
})
