/** Typed events, over nanoevents: what a node, a handle or an emulator's disk announces. */
import { createNanoEvents } from 'nanoevents'
import { requireCallback, requireText } from './arguments.ts'

/** Events by name, with the facts that a listener is called with. */
export type EventTable<E> = { readonly [K in keyof E]: readonly unknown[] }

/** A listener for one event. */
export type Listener<E extends EventTable<E>, K extends keyof E> = (...facts: E[K]) => void

/** The side of {@link Emitter} that users see. Listeners are called at once, in the order in which they were added. */
export interface EventSource<E extends EventTable<E>> {
  /**
   * Calls `listener` with each event from now on.
   *
   * @returns ends that
   * @throws BlockError EINVAL if `listener` is no function, or the name of the event no text
   */
  on<K extends keyof E>(event: K, listener: Listener<E, K>): () => void
  /** The same for the next event only. */
  once<K extends keyof E>(event: K, listener: Listener<E, K>): () => void
}

/** Tells listeners of events. */
export class Emitter<E extends EventTable<E>> implements EventSource<E> {
  readonly #listeners = createNanoEvents<{ [K in keyof E]: Listener<E, K> }>()

  on<K extends keyof E>(event: K, listener: Listener<E, K>): () => void {
    requireText(event, 'event')
    requireCallback(listener, 'listener')
    // One function may be given twice, and each listening ends by itself.
    return this.#listeners.on(event, (...facts: E[K]) => listener(...facts))
  }

  once<K extends keyof E>(event: K, listener: Listener<E, K>): () => void {
    requireCallback(listener, 'listener')
    const end = this.on(event, (...facts) => {
      end()
      listener(...facts)
    })
    return end
  }

  /** Whether an event has a listener: some cost time to describe. */
  hears(event: keyof E): boolean {
    return (this.#listeners.events[event]?.length ?? 0) > 0
  }

  emit<K extends keyof E>(event: K, ...facts: E[K]): void {
    this.#listeners.emit(event, ...(facts as never))
  }
}
