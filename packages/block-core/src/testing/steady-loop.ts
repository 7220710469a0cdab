/** Tests that count what requests cost: how they fall together must not depend on how fast the machine is. */
import { loopBudget } from '../drivers/event-loop.ts'

/** From now on no request of this thread waits for a turn of the event loop because of what others did before. */
export function neverWaitForTurns(): void {
  loopBudget.clock = { ...loopBudget.clock, now: () => 0 }
}
