/** How blocks are deflated: readers of qcow2 may have no more than this window. */
export const DEFLATE = { level: 6, windowBits: 12, memLevel: 9 } as const

/** The error for data that ends before the block does. */
export const tooShort = (): Error => new Error('The deflated data is too short')
