/** Reserved bits of table entries: only a check looks at them. */

/** Bits that must be zero in an L1 entry. */
export const L1_RESERVED_HI = 0x7f00_0000
/** See {@link L1_RESERVED_HI}. */
export const L1_RESERVED_LO = 0x1ff
/** Bits that must be zero in an L2 entry that is not compressed. */
export const L2_RESERVED_HI = 0x3f00_0000
/** See {@link L2_RESERVED_HI}. With extended L2 entries, bit 0 is reserved, too; QEMU's check ignores it. */
export const L2_RESERVED_LO = 0x1fe
/** Bits that must be zero in the low half of a refcount table entry. */
export const REFCOUNT_TABLE_RESERVED_LO = 0x1ff
