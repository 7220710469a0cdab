/** The measurements of one worker process: one image, and the requests to it. Plain data, passed as JSON. */

/** Guest offsets: `count` of them, `stride` bytes apart, visited in one shuffled order. */
export interface Offsets {
  readonly count: number
  readonly stride: number
  /** Bytes; 0 by default. */
  readonly first?: number
}

/** One measurement. Its figures are named after {@link name}: `name us`, `name reads`, ... */
export type Measure =
  /** Opens and closes the image: `ms`, and the requests of the open: `reads`, `bytes`. */
  | { readonly kind: 'open'; readonly name: string; readonly times: number }
  /**
   * Requests at offsets: `us`; for each request `layers` (number of nodes it reached), `reads` and `writes`
   * of the files below; for reads also `first reads`, in a pass over all offsets before anything is in
   * memory.
   */
  | {
      readonly kind: 'read' | 'write'
      readonly name: string
      readonly bytes: number
      readonly at: Offsets
      /** Number of timed requests, at the offsets in turn. */
      readonly requests: number
      /** Whether each offset is written only once, so that a pass allocates. */
      readonly once?: boolean
    }
  /** Checks the image: `ms`, `reads`, `bytes`. */
  | { readonly kind: 'check'; readonly name: string }
  /** In MiB: `heap`, the memory in use while the image is open; and `peak`, the maximum of the process. */
  | { readonly kind: 'memory'; readonly name: string }

/** One image and its measurements, in their order. */
export interface Order {
  /** The files of the chain, from the top down; all qcow2. */
  readonly chain: readonly string[]
  /** Further options of the driver at the top. */
  readonly options: Readonly<Record<string, string | number>>
  readonly measures: readonly Measure[]
}

/** Figures by name. */
export type Figures = Readonly<Record<string, number>>
