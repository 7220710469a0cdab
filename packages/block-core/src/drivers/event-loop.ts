/** Waiting for the event loop, in whatever runs us. */

/** Resolves in a later turn of the event loop, after what is already due. */
export const nextTurn = (): Promise<void> =>
  new Promise((resolve) => {
    // Node's own is far quicker than a timer; browsers have none.
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })
