/**
 * What a driver does with a child: the kinds of children, which drivers declare by option name. QEMU's
 * BdrvChildRole flags, and the permissions that follow from them (`bdrv_default_perms`), as data.
 */
import type { RawOptions } from '../text/options.ts'
import { PERMISSION, type Permissions } from './permissions.ts'

const { consistentRead: READ, write: WRITE, writeUnchanged: WRITE_UNCHANGED, resize: RESIZE } = PERMISSION

/** What the permissions on a child depend on, beside those on the node above it. */
export interface ChildUse {
  /** The node above may write. */
  readonly writes: boolean
  /** The options that the node above was opened with; empty while it is being opened. */
  readonly options: RawOptions
}

/** One kind of child. Drivers make their own from these: `{ ...filtered, permissions: ... }`. */
export interface ChildKind {
  /** What the driver takes and shares on the child, given what is taken and shared on its own node. */
  permissions(above: Permissions, use: ChildUse): Permissions
  /** The child holds the bytes of the node: `node.file`. A driver has at most one. */
  readonly isPrimary?: boolean
  /** The child is what the node shows: `skipFilters` goes through it. */
  readonly isFiltered?: boolean
  /**
   * The child shows through where the image holds nothing (`node.backing`). It is opened read-only, and relative
   * to the file of the image.
   */
  readonly isBacking?: boolean
  /** The image names the child itself, so the name of the node does not, unless the user gave another. */
  readonly isNamedByImage?: boolean
  /** Formats whose disk is the child, byte for byte: all of it, or a fixed part, as the options say (raw). */
  shows?(options: RawOptions): 'all' | 'part'
  /**
   * How a child without a `driver` is opened: as a plain file, as an image whose format is probed, or the way the
   * node above was.
   */
  readonly opens: 'plain' | 'probed' | 'as-parent'
}

/** A driver's children: kinds by option name. `extents.*` stands for the list `extents.0`, `extents.1`, ... */
export type ChildKinds<K extends string = string> = Readonly<Record<K, ChildKind>>

/**
 * The file of a format that keeps tables of it in memory: it must read them consistently, and changes them unseen
 * by other users. QEMU: DATA, METADATA and PRIMARY.
 */
export const storage: ChildKind = {
  permissions: ({ taken, shared }, { writes }) => ({
    taken: taken | READ | (writes ? WRITE | RESIZE : 0),
    shared: shared & ~(WRITE | RESIZE),
  }),
  isPrimary: true,
  opens: 'plain',
}

/** A file that belongs to the node alone, but does not hold its content, such as a log. QEMU: METADATA. */
export const metadata: ChildKind = { permissions: storage.permissions, opens: 'plain' }

/**
 * The file of a format that keeps nothing of it in memory, so that others may write to it meanwhile (raw).
 *
 * @param isFixed whether the options restrict the node to a fixed part of the file, which must keep its length
 */
export const sharedStorage = (isFixed: (options: RawOptions) => boolean = () => false): ChildKind => ({
  permissions: ({ taken, shared }, { options }) => ({
    taken,
    shared: isFixed(options) ? shared & ~RESIZE : shared,
  }),
  isPrimary: true,
  shows: (options) => (isFixed(options) ? 'part' : 'all'),
  opens: 'plain',
})

/** The child whose content a filter shows: it is used as the filter is. QEMU: FILTERED and PRIMARY. */
export const filtered: ChildKind = {
  permissions: (above) => above,
  isPrimary: true,
  isFiltered: true,
  opens: 'as-parent',
}

/** Also writes data to the child that the child already shows. */
export const filteredAndFilled: ChildKind = {
  ...filtered,
  permissions: ({ taken, shared }) => ({ taken: taken | WRITE_UNCHANGED, shared }),
}

/**
 * The backing file of an image: only read, and shared with writers as long as the users above allow it.
 * QEMU: COW.
 */
export const cow: ChildKind = {
  permissions: ({ taken, shared }) => ({
    taken: taken & READ,
    shared: READ | WRITE_UNCHANGED | (shared & WRITE ? WRITE | RESIZE : 0),
  }),
  isBacking: true,
  isNamedByImage: true,
  opens: 'probed',
}

/** A child that holds guest data and no tables, and grows with what is written: part of a disk. QEMU: DATA. */
export const extent: ChildKind = {
  permissions: ({ taken, shared }) => ({
    taken: taken | (taken & WRITE ? RESIZE : 0),
    shared: shared & ~RESIZE,
  }),
  opens: 'plain',
}

/** An {@link extent} that the image names: qcow2's external data file. */
export const data: ChildKind = { ...extent, isNamedByImage: true }
