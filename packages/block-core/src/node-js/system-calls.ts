/** System calls through functions of the C library: signatures, constants and structures of each system. */
import PQueue from 'p-queue'
import { type AioNumbers, aioCalls } from './aio-calls.ts'
import type { ForeignFunctions, SystemCall } from './foreign-functions.ts'
import type { HostCalls, HostLocks } from './host-calls.ts'

/** A C function: called on this thread, or through `async` in Node's thread pool. */
interface NativeFunction {
  (...args: unknown[]): number
  readonly async?: (...args: unknown[]) => void
}

/** Constants of a system (fcntl.h, linux/falloc.h, unistd.h); an absent one means that it lacks the call. */
interface Constants {
  readonly seekData: number
  readonly seekHole: number
  /** `fallocate`, with its flags. */
  readonly fallocate?: { readonly punchHole: number; readonly zeroRange: number }
  /** The `fcntl` command that punches a hole (`F_PUNCHHOLE`). */
  readonly punchHole?: number
  readonly copyFileRange?: boolean
  /** `ioctl` requests: for block devices and for the flags of a file (linux/fs.h). */
  readonly ioctl?: { readonly discard: number; readonly getFlags: number; readonly setFlags: number }
  /** The `fcntl` commands for locks of open file descriptions, and the lock types. */
  readonly ofd?: { readonly get: number; readonly set: number; readonly types: LockTypes }
  /** System call numbers of Linux AIO. */
  readonly aio?: AioNumbers
}

interface LockTypes {
  readonly read: number
  readonly write: number
  readonly none: number
}

/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, and FALLOC_FL_ZERO_RANGE. */
const LINUX: Constants = {
  seekData: 3,
  seekHole: 4,
  fallocate: { punchHole: 3, zeroRange: 16 },
  copyFileRange: true,
  ioctl: { discard: 0x1277, getFlags: 0x80086601, setFlags: 0x40086602 },
  ofd: { get: 36, set: 37, types: { read: 0, write: 1, none: 2 } },
}
const MACOS: Constants = { seekData: 4, seekHole: 3, punchHole: 99 }

/** By platform and processor. On others, numbers or layouts differ or have not been checked. */
const SYSTEMS: Readonly<Record<string, Constants>> = {
  'linux-x64': { ...LINUX, aio: { setup: 206, destroy: 207, submit: 209, getevents: 208 } },
  'linux-arm64': { ...LINUX, aio: { setup: 0, destroy: 1, submit: 2, getevents: 4 } },
  'darwin-x64': MACOS,
  'darwin-arm64': MACOS,
}

/** Limit of simultaneous calls in the pool: koffi refuses more than 256 for the whole process. */
const POOLED = 64

/** A system, as Node names it. */
export interface SystemName {
  readonly platform: string
  readonly arch: string
}

const constantsOf = ({ platform, arch }: SystemName): Constants | undefined => SYSTEMS[`${platform}-${arch}`]

/** Whether this file has constants for a system. */
export const hasSystemCalls = (system: SystemName): boolean => constantsOf(system) !== undefined

/** Makes the calls of one system from functions of its C library; calls that the library lacks are absent. */
export function makeSystemCalls(ffi: ForeignFunctions, name: SystemName): HostCalls {
  const system = constantsOf(name)
  if (!system) return {}
  const library = ffi.load(null)
  // Some numbers have two names; the first is the well-known one.
  const names = new Map(
    Object.entries(ffi.os.errno)
      .map(([name, number]) => [number, name] as const)
      .reverse(),
  )
  const queue = new PQueue({ concurrency: POOLED })

  const errorOf = (errno: number, call: string): Error => {
    const code = names.get(errno) ?? `E${errno}`
    return Object.assign(new Error(`${code}: ${call}`), { code, errno, syscall: call })
  }
  const lastError = (call: string): Error => errorOf(ffi.errno(), call)
  const isInterrupted = (error: Error): boolean => (error as { code?: unknown }).code === 'EINTR'

  /** Declares a function that fails with -1 and errno; undefined if the C library lacks it. */
  const declare = (name: string, signature: string): SystemCall | undefined => {
    let native: NativeFunction
    try {
      native = library.func(signature) as NativeFunction
    } catch {
      return undefined
    }
    const now = (args: readonly unknown[]): number => {
      for (;;) {
        const result = native(...args)
        if (result !== -1) return result
        const error = lastError(name)
        if (!isInterrupted(error)) throw error
      }
    }
    const pooled = async (args: readonly unknown[]): Promise<number> => {
      const once = (): Promise<number | Error> =>
        new Promise((resolve, reject) => {
          native.async!(...args, (failure: unknown, result: number) => {
            if (failure) reject(failure)
            else resolve(result === -1 ? lastError(name) : result)
          })
        })
      for (;;) {
        const result = await queue.add(once)
        if (typeof result === 'number') return result
        if (!isInterrupted(result)) throw result
      }
    }
    const canPool = native.async !== undefined && !signature.includes('...')
    return {
      now,
      at: async (where, ...args) => (where === 'pool' && canPool ? pooled(args) : now(args)),
    }
  }

  return {
    ...seekCalls(system, declare),
    ...spaceCalls(system, declare),
    ...(system.copyFileRange && copyCalls(declare)),
    ...(system.ioctl && controlCalls(system.ioctl, declare)),
    ...(system.ofd && { locks: lockCalls(system.ofd, declare) }),
    ...(system.aio && {
      aio: aioCalls(system.aio, ffi, declare, (result) => errorOf(-result, 'io_submit')),
    }),
  }
}

type Declare = (name: string, signature: string) => SystemCall | undefined

function seekCalls({ seekData, seekHole }: Constants, declare: Declare): HostCalls {
  const lseek = declare('lseek', 'int64_t lseek(int fd, int64_t offset, int whence)')
  if (!lseek) return {}
  return {
    async seekData(fd, offset, where) {
      try {
        return await lseek.at(where, fd, offset, seekData)
      } catch (error) {
        // A hole up to the end of the file.
        if ((error as { code?: unknown }).code === 'ENXIO') return undefined
        throw error
      }
    },
    seekHole: (fd, offset, where) => lseek.at(where, fd, offset, seekHole),
  }
}

function spaceCalls(system: Constants, declare: Declare): HostCalls {
  if (system.punchHole !== undefined) {
    const fcntl = declare('fcntl', 'int fcntl(int fd, int command, ...)')
    const command = system.punchHole
    return fcntl ? { punchHole: (fd, offset, bytes) => punchByFcntl(fcntl, command, fd, offset, bytes) } : {}
  }
  const flags = system.fallocate
  const fallocate =
    flags && declare('fallocate', 'int fallocate(int fd, int mode, int64_t offset, int64_t bytes)')
  if (!fallocate) return {}
  const withMode =
    (mode: number): NonNullable<HostCalls['allocate']> =>
    async (fd, offset, bytes, where) => {
      await fallocate.at(where, fd, mode, offset, bytes)
    }
  return {
    punchHole: withMode(flags.punchHole),
    zeroRange: withMode(flags.zeroRange),
    allocate: withMode(0),
  }
}

/** `fpunchhole_t`: two unused words, then offset and length (sys/fcntl.h of macOS). */
async function punchByFcntl(
  fcntl: SystemCall,
  command: number,
  fd: number,
  offset: number,
  bytes: number,
): Promise<void> {
  const range = new BigInt64Array([0n, BigInt(offset), BigInt(bytes)])
  await fcntl.at('here', fd, command, 'void *', range)
}

function copyCalls(declare: Declare): HostCalls {
  const copy = declare(
    'copy_file_range',
    'int64_t copy_file_range(int from, void *fromOffset, int to, void *toOffset, size_t bytes, uint32_t flags)',
  )
  if (!copy) return {}
  // The kernel writes the new offsets into these words.
  const word = (value: number): BigInt64Array => new BigInt64Array([BigInt(value)])
  return {
    copyRange: (from, to, bytes, where) =>
      copy.at(where, from.fd, word(from.offset), to.fd, word(to.offset), bytes, 0),
  }
}

/** FS_NOCOW_FL. */
const NO_COPY_ON_WRITE = 0x800000

/** `ioctl` is variadic, but on these processors its third argument is passed like the fixed ones. */
function controlCalls(
  { discard, getFlags, setFlags }: NonNullable<Constants['ioctl']>,
  declare: Declare,
): HostCalls {
  const ioctl = declare('ioctl', 'int ioctl(int fd, uint64_t request, void *argument)')
  if (!ioctl) return {}
  return {
    async discardDevice(fd, offset, bytes, where) {
      await ioctl.at(where, fd, discard, new BigUint64Array([BigInt(offset), BigInt(bytes)]))
    },
    async noCopyOnWrite(fd) {
      // The kernel reads an int, although the request is declared with long.
      const flags = new Uint32Array(2)
      await ioctl.at('here', fd, getFlags, flags)
      flags[0]! |= NO_COPY_ON_WRITE
      await ioctl.at('here', fd, setFlags, flags)
    },
  }
}

/** `struct flock` of 64-bit Linux: type, whence (16 bits), start, length (64 bits at 8 and 16), owner. */
const FLOCK_BYTES = 32

function lockCalls(
  { get, set, types }: NonNullable<Constants['ofd']>,
  declare: Declare,
): HostLocks | undefined {
  const fcntl = declare('fcntl', 'int fcntl(int fd, int command, void *lock)')
  if (!fcntl) return undefined
  const flock = new DataView(new ArrayBuffer(FLOCK_BYTES))
  const memory = new Uint8Array(flock.buffer)
  const isLittle = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
  const call = (fd: number, command: number, type: number, byte: number): number => {
    memory.fill(0)
    flock.setInt16(0, type, isLittle)
    flock.setBigInt64(8, BigInt(byte), isLittle)
    flock.setBigInt64(16, 1n, isLittle)
    fcntl.now([fd, command, memory])
    return flock.getInt16(0, isLittle)
  }
  return {
    share: (fd, byte) => void call(fd, set, types.read, byte),
    release: (fd, byte) => void call(fd, set, types.none, byte),
    isTaken: (fd, byte) => call(fd, get, types.write, byte) !== types.none,
  }
}
