/** The locks of a file, on a table of locks that several processes share: which uses can coexist. */
import { describe, expect, it } from 'vitest'
import { ALL_PERMISSIONS, PERMISSION } from '../contract/permissions.ts'
import { FileLock, lockForCreation } from './file-lock.ts'
import type { HostLocks } from './host-calls.ts'

const { consistentRead, write, resize } = PERMISSION
const WRITER = { taken: consistentRead | write | resize, shared: ALL_PERMISSIONS & ~(write | resize) }
const READER = { taken: consistentRead, shared: ALL_PERMISSIONS & ~(write | resize) }
const SHARING = { taken: consistentRead | write, shared: ALL_PERMISSIONS }

/** The locks of one file by descriptor, as the host keeps them. `fail` may throw before a byte is locked. */
class Table implements HostLocks {
  readonly held = new Map<number, Set<number>>()
  fail: ((byte: number) => void) | undefined

  of(fd: number): number[] {
    return [...(this.held.get(fd) ?? [])].sort((a, b) => a - b)
  }
  share(fd: number, byte: number): void {
    this.fail?.(byte)
    this.held.set(fd, (this.held.get(fd) ?? new Set()).add(byte))
  }
  release(fd: number, byte: number): void {
    this.held.get(fd)?.delete(byte)
  }
  isTaken(fd: number, byte: number): boolean {
    return [...this.held].some(([other, bytes]) => other !== fd && bytes.has(byte))
  }
}

const lockOn = (table: Table, fd: number, required = false): FileLock =>
  new FileLock(table, fd, { filename: 'disk', required })

const take = (lock: FileLock, wanted: typeof WRITER): void => lock.prepare(wanted).commit()

describe('a lock', () => {
  it('holds a byte for what is taken and one for what is not shared', () => {
    const table = new Table()
    const lock = lockOn(table, 1)
    take(lock, WRITER)
    expect(table.of(1)).toEqual([100, 101, 103, 201, 203])
    take(lock, READER)
    expect(table.of(1)).toEqual([100, 201, 203])
    take(lock, { taken: 0, shared: ALL_PERMISSIONS })
    expect(table.of(1)).toEqual([])
  })

  it('says what is in the way, and then holds what it held', () => {
    const table = new Table()
    const [one, two] = [lockOn(table, 1), lockOn(table, 2)]
    take(one, READER)
    expect(() => two.prepare(WRITER)).toThrow(
      'Failed to get "write" lock\nIs another process using the image [disk]?',
    )
    expect(table.of(2)).toEqual([])
    take(one, WRITER)
    expect(() => two.prepare(READER)).toThrow('Failed to get shared "write" lock')
    expect(() => two.prepare(SHARING)).toThrow('Failed to get "write" lock')
    take(one, SHARING)
    take(two, SHARING)
    expect(() => two.prepare(READER)).toThrow('Failed to get shared "write" lock')
    expect(table.of(2)).toEqual([100, 101])
  })

  it('keeps what was held until a change is final, and all of it when that is called off', () => {
    const table = new Table()
    const lock = lockOn(table, 1)
    take(lock, SHARING)
    const step = lock.prepare(READER)
    expect(table.of(1)).toEqual([100, 101, 201, 203])
    step.abort()
    expect(table.of(1)).toEqual([100, 101])
    lock.prepare(READER).commit()
    expect(table.of(1)).toEqual([100, 201, 203])
  })

  it('takes the right to resize when it is needed, and keeps it', () => {
    const table = new Table()
    const [lock, window] = [lockOn(table, 1), lockOn(table, 2)]
    take(lock, SHARING)
    take(window, { taken: consistentRead, shared: ALL_PERMISSIONS & ~resize })
    expect(() => lock.prepareResize()).toThrow('Failed to get "resize" lock')
    expect(table.of(1)).toEqual([100, 101])
    take(window, { taken: consistentRead, shared: ALL_PERMISSIONS })
    lock.prepareResize()
    lock.prepareResize()
    take(lock, { taken: consistentRead, shared: ALL_PERMISSIONS })
    expect(table.of(1)).toEqual([100, 103])
  })

  it('moves to another descriptor of the file without a moment in between', () => {
    const table = new Table()
    const lock = lockOn(table, 1)
    take(lock, WRITER)
    lock.copyTo(7)
    expect(table.of(7)).toEqual(table.of(1))
    lock.moveTo(7)
    table.held.delete(1)
    take(lock, READER)
    expect(table.of(7)).toEqual([100, 201, 203])
  })

  it('does without where the file system has no locks, unless they are required', () => {
    const table = new Table()
    table.fail = () => {
      throw Object.assign(new Error('no locks'), { code: 'ENOLCK' })
    }
    const lock = lockOn(table, 1)
    take(lock, WRITER)
    lock.prepareResize()
    lock.copyTo(2)
    take(lock, READER)
    expect(table.held.size).toBe(0)
    expect(() => lockOn(table, 1, true).prepare(WRITER)).toThrow(`Failed to lock 'disk'`)
    lockForCreation(table, 1, { filename: 'disk' })
  })

  it('gives back what it has when the host fails half way', () => {
    const table = new Table()
    table.fail = (byte) => {
      if (byte > 200) throw Object.assign(new Error('full'), { code: 'ENOMEM' })
    }
    expect(() => lockOn(table, 1).prepare(WRITER)).toThrow(`Failed to lock 'disk': Cannot allocate memory`)
    expect(table.of(1)).toEqual([])
  })

  it('keeps a file from being made anew while another user minds', () => {
    const table = new Table()
    take(lockOn(table, 1), READER)
    expect(() => lockForCreation(table, 2, { filename: 'disk' })).toThrow('Failed to get "write" lock')
    take(lockOn(table, 1), SHARING)
  })
})
