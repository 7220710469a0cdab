/**
 * Findings of checks, for drivers that make them and programs that keep them. An entry of its own: bundlers load code
 * with the root of the package as soon as the root exports it, and a check runs seldom.
 */
export { checkFinding } from '../contract/findings.ts'
export { FindingList } from './finding-list.ts'
