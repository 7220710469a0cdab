/** The `quorum` driver: several disks with one content, of which enough must agree on what is read and written. */
import { requireCallback, requireOptions } from '../base/arguments.ts'
import { BlockError, type BlockErrorCode, isBlockError } from '../base/errors.ts'
import { extent } from '../contract/child-kinds.ts'
import { defineDriver, type OpenContext } from '../contract/driver.ts'
import type { BlockChild, BlockStatus } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { PERMISSION } from '../contract/permissions.ts'
import type { WriteFlag, WriteFlags } from '../contract/requests.ts'
import { chainStatus } from '../graph/block-status.ts'
import { bool, integer, type OptionValues, text } from '../text/options.ts'
import type { MismatchHost } from './blkverify.ts'
import { countVotes, type Version } from './quorum-votes.ts'
import { firstDifference, limitsOfAll, spaceOf } from './several-children.ts'

/** What a quorum tells of a request: QEMU's QUORUM_REPORT_BAD and QUORUM_FAILURE. Offsets and lengths in bytes. */
export interface QuorumReport {
  /** `bad`: a child failed, or was outvoted. `failure`: too few children agree, and the request fails. */
  readonly kind: 'bad' | 'failure'
  readonly operation: 'read' | 'write' | 'flush'
  /** The name of the child's node; for a failure, of the quorum. */
  readonly node: string
  readonly offset: number
  readonly bytes: number
  /** What the child threw; undefined if it answered, and was outvoted. */
  readonly error?: unknown
}

/** What the application provides to quorum. */
export interface QuorumHost extends MismatchHost {
  /** Receives what goes wrong with children. */
  readonly onReport?: ((report: QuorumReport) => void) | undefined
}

const OPTIONS = {
  voteThreshold: integer('The number of vote needed for reaching quorum', 0),
  blkverify: bool('Trigger block verify mode if set', false),
  rewriteCorrupted: bool('Rewrite corrupted block on read quorum', false),
  readPattern: text('Allowed pattern: quorum, fifo. Quorum is default', 'quorum'),
}

type Settings = OptionValues<typeof OPTIONS>

/** Data of a node whose content others must not change; a quorum that corrects its children writes even when it is read. */
const member = {
  ...extent,
  opens: 'probed',
  permissions: ({ taken, shared }, { options }) => ({
    taken: taken | (isOn(options['rewrite-corrupted']) ? PERMISSION.write : 0),
    shared: (shared & PERMISSION.consistentRead) | PERMISSION.writeUnchanged,
  }),
} satisfies typeof extent

const isOn = (value: unknown): boolean => value === true || value === 'on'

/** @throws BlockError in QEMU's words, for the first option that is wrong */
function checkSettings(options: Settings, count: number): void {
  const { voteThreshold, blkverify, rewriteCorrupted, readPattern } = options
  if (count < 1) throw new BlockError('EINVAL', 'Number of provided children must be 1 or more')
  if (!(voteThreshold >= 1)) throw new BlockError('ERANGE', "Parameter 'vote-threshold' expects a value >= 1")
  if (voteThreshold > count) throw new BlockError('ERANGE', 'threshold may not exceed children count')
  if (readPattern !== 'quorum' && readPattern !== 'fifo')
    throw new BlockError('EINVAL', 'Please set read-pattern as fifo or quorum')
  if (readPattern === 'fifo' || !blkverify) return
  if (count !== 2 || voteThreshold !== 2)
    throw new BlockError(
      'EINVAL',
      'blkverify=on can only be set if there are exactly two files and vote-threshold is 2',
    )
  if (rewriteCorrupted)
    throw new BlockError('EINVAL', 'rewrite-corrupted=on cannot be used with blkverify=on')
}

const codeOf = (error: unknown): BlockErrorCode => (isBlockError(error) ? error.code : 'EIO')

/** One open quorum. */
class Quorum {
  readonly #name: string
  readonly #settings: Settings
  readonly #children: readonly BlockChild[]
  readonly #host: QuorumHost

  constructor(name: string, settings: Settings, children: readonly BlockChild[], host: QuorumHost) {
    this.#name = name
    this.#settings = settings
    this.#children = children
    this.#host = host
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (this.#settings.readPattern === 'fifo') return this.#readFirst(offset, into)
    const answers = this.#children.map(() => new Uint8Array(into.length))
    const failed = await this.#all('read', offset, into.length, (child, i) => child.read(offset, answers[i]!))
    const votes = [...answers.entries()].filter(([i]) => !failed.has(i))
    const versions = countVotes(votes, (one, other) => this.#areSame(one, other, offset))
    const [winner] = versions as readonly [Version<Uint8Array>]
    if (winner.voters.length < this.#settings.voteThreshold) {
      this.#report('failure', 'read', this.#name, offset, into.length)
      throw new BlockError('EIO', 'the children of the quorum do not agree', { node: this.#name, offset })
    }
    into.set(winner.value)
    const outvoted = versions.slice(1).flatMap(({ voters }) => voters)
    for (const i of outvoted) this.#report('bad', 'read', this.#children[i]!.node.name, offset, into.length)
    if (!this.#settings.rewriteCorrupted) return
    // If that fails, the child is as bad as before.
    await Promise.allSettled(outvoted.map((i) => this.#children[i]!.write(offset, winner.value)))
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    await this.#all('write', offset, from.length, (child) => child.write(offset, from))
  }

  async writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    await this.#all('write', offset, bytes, (child) => child.writeZeroes(offset, bytes, flags))
  }

  async flush(): Promise<void> {
    await this.#all('flush', 0, 0, (child) => child.flush())
  }

  /** Zeroes where all children have zeroes, else data: the children may hold one content in different ways. */
  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    let [zeroes, data] = [bytes, 0]
    for (const child of this.#children) {
      try {
        const status = await chainStatus(child.node, offset, bytes)
        if (status.zero) zeroes = Math.min(zeroes, status.bytes)
        else data = Math.max(data, status.bytes)
      } catch (error) {
        this.#report('bad', 'read', child.node.name, offset, bytes, error)
        data = bytes
        break
      }
    }
    return data > 0
      ? { bytes: data, allocated: true, data: true, zero: false }
      : { bytes: zeroes, allocated: true, data: false, zero: true }
  }

  /** Reads from the first child that can be read. @throws the last child's error */
  async #readFirst(offset: number, into: Uint8Array): Promise<void> {
    let failure: unknown
    for (const child of this.#children) {
      try {
        return await child.read(offset, into)
      } catch (error) {
        failure = error
        this.#report('bad', 'read', child.node.name, offset, into.length, error)
      }
    }
    throw failure
  }

  /**
   * Makes a request to all children.
   *
   * @returns the errors of those that failed, by index
   * @throws the most frequent of the errors, if fewer than the threshold succeeded
   */
  async #all(
    operation: QuorumReport['operation'],
    offset: number,
    bytes: number,
    request: (child: BlockChild, index: number) => Promise<void>,
  ): Promise<ReadonlyMap<number, unknown>> {
    const failed = new Map<number, unknown>()
    await Promise.all(
      this.#children.map((child, i) =>
        request(child, i).catch((error: unknown) => {
          failed.set(i, error)
          this.#report('bad', operation, child.node.name, offset, bytes, error)
        }),
      ),
    )
    if (this.#children.length - failed.size >= this.#settings.voteThreshold) return failed
    const inOrder = [...failed].sort(([a], [b]) => a - b)
    const [most] = countVotes(inOrder, (one, other) => codeOf(one) === codeOf(other))
    // QEMU has no event for a failed flush.
    if (operation !== 'flush') this.#report('failure', operation, this.#name, offset, bytes)
    throw most!.value
  }

  #areSame(one: Uint8Array, other: Uint8Array, offset: number): boolean {
    const at = firstDifference(one, other)
    if (at < 0 || !this.#settings.blkverify) return at < 0
    const line = `quorum: offset=${offset} bytes=${one.length} contents mismatch at offset ${offset + at}`
    this.#host.onMismatch?.(line)
    throw new BlockError('EIO', line, { node: this.#name, offset })
  }

  #report(
    kind: QuorumReport['kind'],
    operation: QuorumReport['operation'],
    node: string,
    offset: number,
    bytes: number,
    error?: unknown,
  ): void {
    this.#host.onReport?.({ kind, operation, node, offset, bytes, ...(error !== undefined && { error }) })
  }
}

/** The flags of zero writes that all children handle themselves. */
const zeroFlagsOfAll = (children: readonly BlockChild[]): ReadonlySet<WriteFlag> =>
  new Set(
    (['fua', 'mayUnmap', 'noFallback'] as const).filter((flag) =>
      children.every(({ node }) => node.ops.zeroFlags?.has(flag)),
    ),
  )

async function openQuorum(
  context: OpenContext<Settings, never, 'children'>,
  host: QuorumHost,
): Promise<NodeOps> {
  const { nodeName, options } = context
  const children = await context.children('children')
  checkSettings(options, children.length)
  if (options.rewriteCorrupted && children.some((child) => child.readOnly))
    throw new BlockError('EPERM', 'Block node is read-only', { node: nodeName })
  const { size } = children[0]!
  if (children.some((child) => child.size !== size))
    throw new BlockError('EIO', 'Could not refresh total sector count: Input/output error', {
      node: nodeName,
    })
  const quorum = new Quorum(nodeName, options, children, host)
  return {
    get limits() {
      return limitsOfAll(children)
    },
    get zeroFlags() {
      return zeroFlagsOfAll(children)
    },
    size: () => size,
    read: (offset, into) => quorum.read(offset, into),
    write: (offset, from) => quorum.write(offset, from),
    writeZeroes: (offset, bytes, flags) => quorum.writeZeroes(offset, bytes, flags),
    flush: () => quorum.flush(),
    blockStatus: (offset, bytes) => quorum.blockStatus(offset, bytes),
    async info() {
      const sizes = await Promise.all(children.map(({ node }) => spaceOf(node)))
      return sizes.includes(undefined)
        ? {}
        : { actualSize: (sizes as number[]).reduce((sum, bytes) => sum + bytes) }
    },
  }
}

/** Makes the `quorum` driver for an application. @throws BlockError EINVAL for a wrong part of `host`, by its name */
export function createQuorum(host: QuorumHost = {}) {
  requireOptions(host, 'host', { onMismatch: requireCallback, onReport: requireCallback })
  return defineDriver({
    name: 'quorum',
    kind: 'format',
    options: OPTIONS,
    children: { 'children.*': member },
    open: (context) => openQuorum(context, host),
  })
}

/** `quorum` without reports. */
export const quorum = createQuorum()
