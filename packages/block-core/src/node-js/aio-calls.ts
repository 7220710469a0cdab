/**
 * Linux AIO through its system calls, which the C library does not wrap. The structures (linux/aio_abi.h) lie
 * in one piece of memory whose address is known, so that a request costs a few stores, and a batch one call.
 */
import { fstatSync, read } from 'node:fs'
import type { ForeignFunctions, SystemCall } from './foreign-functions.ts'
import type { HostAio, HostAioQueue } from './host-calls.ts'
import { close } from './host-fs.ts'

/** System call numbers. */
export interface AioNumbers {
  readonly setup: number
  readonly destroy: number
  readonly submit: number
  readonly getevents: number
}

/** Bytes of `struct iocb` and of `struct io_event`. */
const IOCB = 64
const EVENT = 32
const OPCODES = { read: 0, write: 1 } as const
const HAS_EVENTFD = 1
const WASM_PAGE = 65536
const TWO_32 = 2 ** 32

/** Declares a function that returns -1 and sets errno when it fails. */
type Declare = (name: string, signature: string) => SystemCall | undefined

/**
 * Makes Linux AIO, whose `open` throws where the kernel gives no queue, or the runtime cannot wait for one.
 *
 * @returns undefined if the C library lacks a function, or koffi has no `address`
 */
export function aioCalls(
  numbers: AioNumbers,
  ffi: ForeignFunctions,
  declare: Declare,
  errorOf: HostAioQueue['errorOf'],
): HostAio | undefined {
  const setup = declare('io_setup', 'int64_t syscall(int64_t number, uint32_t slots, void *context)')
  const destroy = declare('io_destroy', 'int64_t syscall(int64_t number, uint64_t context)')
  const submit = declare(
    'io_submit',
    'int64_t syscall(int64_t number, uint64_t context, int64_t count, uint64_t pointers)',
  )
  const getevents = declare(
    'io_getevents',
    'int64_t syscall(int64_t number, uint64_t context, int64_t least, int64_t most, uint64_t events, uint64_t timeout)',
  )
  const eventfd = declare('eventfd', 'int eventfd(uint32_t count, int flags)')
  if (!setup || !destroy || !submit || !getevents || !eventfd || !ffi.address) return undefined
  const address = (bytes: Uint8Array): number => Number(ffi.address!(bytes))

  return {
    open(slots) {
      const memory = new QueueMemory(slots, address)
      const context = new BigUint64Array(1)
      setup.now([numbers.setup, slots, context])
      const [id] = context
      let eventFd = -1
      try {
        eventFd = eventfd.now([0, CLOSE_ON_EXEC])
        // Deno's `node:fs` takes no descriptor that it has not opened itself.
        fstatSync(eventFd)
      } catch (error) {
        if (eventFd >= 0) declare('close', 'int close(int fd)')?.now([eventFd])
        destroy.now([numbers.destroy, id])
        throw error
      }
      const count = new Uint8Array(8)
      return {
        prepare: (slot, operation, fd, bytes, offset) =>
          memory.prepare(slot, OPCODES[operation], fd, bytes, offset, eventFd),
        submit(chosen) {
          memory.point(chosen)
          return submit.now([numbers.submit, id, chosen.length, memory.pointers])
        },
        wait(woken) {
          read(eventFd, count, 0, count.length, null, (error) => {
            // There is no one to report the error to, and retrying at once might loop forever.
            if (error) setTimeout(woken, 1)
            else woken()
          })
        },
        reap(ended) {
          const count = getevents.now([numbers.getevents, id, 0, slots, memory.events, memory.noTime])
          memory.each(count, ended)
        },
        errorOf,
        async close() {
          await close(eventFd)
          // This takes the kernel milliseconds.
          await destroy.at('pool', numbers.destroy, id)
        },
      }
    },
  }
}

const CLOSE_ON_EXEC = 0o2000000

/** The structures of one queue. Addresses fit a number: user space ends below 2^53. */
class QueueMemory {
  readonly #words: Uint32Array
  readonly #numbers: Int32Array
  readonly #addressOf: (bytes: Uint8Array) => number
  /** Base addresses of the buffers seen so far: their memory does not move. */
  readonly #bases = new WeakMap<ArrayBufferLike, number>()
  readonly #base: number
  readonly #pointersAt: number
  readonly #eventsAt: number
  readonly #noTimeAt: number

  constructor(slots: number, addressOf: (bytes: Uint8Array) => number) {
    this.#pointersAt = slots * IOCB
    this.#eventsAt = this.#pointersAt + slots * 8
    this.#noTimeAt = this.#eventsAt + slots * EVENT
    const pages = Math.ceil((this.#noTimeAt + 16) / WASM_PAGE)
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
    this.#words = new Uint32Array(buffer)
    this.#numbers = new Int32Array(buffer)
    this.#addressOf = addressOf
    this.#base = addressOf(new Uint8Array(buffer))
  }

  get pointers(): number {
    return this.#base + this.#pointersAt
  }
  get events(): number {
    return this.#base + this.#eventsAt
  }
  get noTime(): number {
    return this.#base + this.#noTimeAt
  }

  prepare(
    slot: number,
    opcode: number,
    fd: number,
    bytes: Uint8Array,
    offset: number,
    eventFd: number,
  ): void {
    const at = slot * IOCB
    this.#put(at, slot)
    this.#words[(at + 16) / 4] = opcode
    this.#words[(at + 20) / 4] = fd
    this.#put(at + 24, this.#baseOf(bytes.buffer) + bytes.byteOffset)
    this.#put(at + 32, bytes.length)
    this.#put(at + 40, offset)
    this.#words[(at + 56) / 4] = HAS_EVENTFD
    this.#words[(at + 60) / 4] = eventFd
  }

  point(slots: readonly number[]): void {
    for (let index = 0; index < slots.length; index++)
      this.#put(this.#pointersAt + index * 8, this.#base + slots[index]! * IOCB)
  }

  each(count: number, ended: (slot: number, result: number) => void): void {
    for (let index = 0; index < count; index++) {
      const at = this.#eventsAt + index * EVENT
      ended(this.#words[at / 4]!, this.#numbers[(at + 16) / 4]!)
    }
  }

  #put(at: number, value: number): void {
    this.#words[at / 4] = value % TWO_32
    this.#words[at / 4 + 1] = Math.floor(value / TWO_32)
  }

  #baseOf(buffer: ArrayBufferLike): number {
    let base = this.#bases.get(buffer)
    if (base === undefined) {
      base = this.#addressOf(new Uint8Array(buffer))
      this.#bases.set(buffer, base)
    }
    return base
  }
}
