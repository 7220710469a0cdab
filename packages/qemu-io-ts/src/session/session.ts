/**
 * A qemu-io session: the open image, the output, and the requests in flight. It uses no process and no terminal, so other
 * programs and tests can run it in their own process.
 */
import { Output, type TextOutput } from '@vmblock/cli'
import type { Entry, Image, ImageServices } from './services.ts'

/** The services that a session needs. */
export interface SessionServices extends ImageServices {
  /** A monotonic clock, in nanoseconds. */
  now(): number
  /** Resolves after `milliseconds`, or when `until` is aborted, and keeps the program alive until then. */
  sleep(milliseconds: number, until?: AbortSignal): Promise<void>
  /** Reads the first `limit` bytes of a file of the user. @throws an error with a POSIX `code` */
  readFile(path: string, limit: number): Promise<Uint8Array>
  /**
   * Sends a signal to the process; returns if the process survives it. Absent in programs that embed the
   * session: there the open image crashes and the session ends.
   */
  raise?(signal: number): void
  /** Lists a directory ('': the current one) for completion; empty if it cannot be read. Absent: no names are offered. */
  listDirectory?(path: string): readonly Entry[]
}

/**
 * Why a session takes no more lines. A `failure` has been told, and ends the program on the spot: nothing more is printed,
 * and the image is dropped.
 */
export type Ending =
  | { readonly kind: 'quit' | 'failure' }
  | { readonly kind: 'signal'; readonly signal: number }

/** Settings of the program's command line for all commands. */
export interface SessionSettings {
  /** `--image-opts`: images are given by options. */
  readonly imageOptions?: boolean
  /** `-m`: buffers start 16 bytes after an aligned address. */
  readonly misalign?: boolean
  /** Whether {@link Session.interrupt} may be called. */
  readonly interruptible?: boolean
}

const MISALIGNMENT = 16

/** One run of the program, from the first command to the last. */
export class Session {
  readonly services: SessionServices
  readonly settings: SessionSettings
  readonly output: Output
  readonly #inFlight = new Set<Promise<void>>()
  /**
   * Texts of requests that completed while no command was waiting; they are held because QEMU's event loop
   * would not have run then.
   */
  #held: string[] = []
  #waiting = 0
  #image: Image | undefined
  #ending: Ending | undefined
  /** End the steps that are awaited. */
  readonly #stops = new Set<() => void>()
  #interrupted = false

  constructor(stream: TextOutput, services: SessionServices, settings: SessionSettings = {}) {
    this.output = new Output('qemu-io', stream)
    this.services = services
    this.settings = settings
  }

  get image(): Image | undefined {
    return this.#image
  }
  /** Why the session takes no more lines; undefined while it does. */
  get ending(): Ending | undefined {
    return this.#ending
  }

  /** Whether the program has ended, as far as its user can see. */
  get isOver(): boolean {
    return this.#ending !== undefined && this.#ending.kind !== 'quit'
  }

  /** Sets the image that commands work on. */
  attach(image: Image): void {
    this.#image = image
  }

  /** Waits for the requests in flight, then closes the image, if any. @throws the error of closing it */
  async close(): Promise<void> {
    const image = this.#image
    await this.drain()
    this.#image = undefined
    if (image) await this.wait(image.close())
  }

  /** Ends the session: it takes no more lines. */
  end(ending: Ending): void {
    this.#ending ??= ending
  }

  /** Simulates death by a signal: the image crashes; nothing is flushed or closed. */
  async crash(signal: number): Promise<void> {
    const image = this.#image
    this.#image = undefined
    this.end({ kind: 'signal', signal })
    await image?.crash()
    await Promise.allSettled(this.#inFlight)
    this.#held = []
  }

  /** Allocates a buffer for a request, filled with one byte value. */
  buffer(bytes: number, fill: number): Uint8Array {
    const buffer = this.settings.misalign
      ? new Uint8Array(new ArrayBuffer(bytes + MISALIGNMENT), MISALIGNMENT)
      : new Uint8Array(bytes)
    return fill === 0 ? buffer : buffer.fill(fill)
  }

  /**
   * Awaits a step of a command. Meanwhile requests in flight may complete and print their results.
   *
   * @param rest what is still in flight if the command is interrupted; null for a step that may never end
   * @throws what the step throws; Error if the command is interrupted
   */
  async wait<T>(step: Promise<T>, rest: (() => Promise<unknown>) | null = () => step): Promise<T> {
    this.#waiting++
    const held = this.#held
    this.#held = []
    for (const text of held) this.output.print(text)
    try {
      return await (this.settings.interruptible ? this.#untilInterrupted(step, rest) : step)
    } finally {
      this.#waiting--
    }
  }

  /** Ends the command that runs. The requests that it made go on, as those of `aio_write` do. */
  interrupt(): void {
    this.#interrupted = true
    for (const stop of this.#stops) stop()
  }

  /** Whether the command that ended was interrupted; asked once for each command. */
  takeInterruption(): boolean {
    const was = this.#interrupted
    this.#interrupted = false
    return was
  }

  #untilInterrupted<T>(step: Promise<T>, rest: (() => Promise<unknown>) | null): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#stops.delete(stop)
        if (rest) this.#keep(rest())
        reject(new Error('interrupted'))
      }
      this.#stops.add(stop)
      void step.then(resolve, reject).finally(() => this.#stops.delete(stop))
    })
  }

  /** Counts a step as in flight; its result and its error are dropped. */
  #keep(step: Promise<unknown>): void {
    const request = step.then(
      () => void this.#inFlight.delete(request),
      () => void this.#inFlight.delete(request),
    )
    this.#inFlight.add(request)
  }

  /** Runs and times a request. @returns nanoseconds (at least one, since rates divide by it) */
  async timed(request: () => Promise<void>): Promise<number> {
    const start = this.services.now()
    await this.wait(request())
    return Math.max(1, this.services.now() - start)
  }

  /** Lets a request run beside later commands; `work` returns the text to print when it has completed. */
  submit(work: () => Promise<string>): void {
    const request = work().then((text) => {
      this.#inFlight.delete(request)
      if (this.isOver) return
      if (this.#waiting > 0) this.output.print(text)
      else this.#held.push(text)
    })
    this.#inFlight.add(request)
  }

  /** Whether requests are in flight, or results of completed ones are not printed yet. */
  get busy(): boolean {
    return this.#inFlight.size > 0 || this.#held.length > 0
  }

  /** Waits for all requests in flight. */
  async drain(): Promise<void> {
    while (this.busy) await this.wait(Promise.all(this.#inFlight), null)
  }
}
