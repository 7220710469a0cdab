/** Numbers in reports of checks and of rare extensions. */

/** A count or size for display; beyond 2^53-1 it may be rounded, and no digits are better than wrong ones. */
export const decimal = (value: number): string =>
  Number.isSafeInteger(value) ? String(value) : '2^53 or more'
