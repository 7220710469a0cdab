/** What a process of its own is told to measure: one image, and what is done to it. Plain data, passed as JSON. */

/** Guest offsets: `count` of them, `stride` bytes apart, visited in one shuffled order. */
export interface Places {
  readonly count: number
  readonly stride: number
  /** Bytes; 0 by default. */
  readonly first?: number
}

/** One measurement. What it finds is named by {@link name}: `name us`, `name reads`, ... */
export type Measure =
  /** Opens and closes it: `ms`, and what is read: `reads`, `bytes`. */
  | { readonly kind: 'open'; readonly name: string; readonly times: number }
  /**
   * Requests at places: `us`; for each request `layers` (nodes that were asked), `reads` and `writes` of the files
   * below; for reads also `first reads`, in a pass over all places before anything is in memory.
   */
  | {
      readonly kind: 'read' | 'write'
      readonly name: string
      readonly bytes: number
      readonly places: Places
      /** How many are timed, the places in turn. */
      readonly requests: number
      /** Each place is written once only, so that a pass allocates. */
      readonly once?: boolean
    }
  /** Checks it: `ms`, `reads`, `bytes`. */
  | { readonly kind: 'check'; readonly name: string }
  /** In MiB: what stays in memory while it is open, `heap`; and the most the process ever took, `peak`. */
  | { readonly kind: 'memory'; readonly name: string }

/** One image and its measurements, in their order. */
export interface Order {
  /** The files of the chain, from the top down; all qcow2. */
  readonly chain: readonly string[]
  /** More options of the driver at the top. */
  readonly options: Readonly<Record<string, string | number>>
  readonly measures: readonly Measure[]
}

/** Figures by name. */
export type Figures = Readonly<Record<string, number>>
