/** For tests that count the cost of requests: interleaving must not depend on the machine's speed. */
import { loopBudget } from '../base/event-loop.ts'

/** From now on no request of this thread waits for a turn of the event loop because the budget is spent. */
export function neverWaitForTurns(): void {
  loopBudget.clock = { ...loopBudget.clock, now: () => 0 }
}
