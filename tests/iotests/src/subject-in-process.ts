/**
 * Our programs in this very process: no start-up cost, and `abort` crashes the block nodes instead.
 * @module
 */
import type { Subject } from './subject.ts'

export function inProcessSubject(): Subject {
  throw new Error('not yet')
}
