/** The options that a reopen keeps: loaded late. */
import type { RawOptions } from '@vmblock/block-core/driver'

/**
 * The old options that a reopen keeps: a new template for overlap checks replaces all old options about them,
 * and the total cache size replaces its parts, and the other way round. QEMU's `qcow2_join_options`.
 */
export function keepOptions(before: RawOptions, given: RawOptions): RawOptions {
  const kept: Record<string, unknown> = { ...before }
  const check = given['overlap-check']
  const template = typeof check === 'object' ? (check as RawOptions)['template'] : check
  if (template !== undefined || given['overlap-check.template'] !== undefined) {
    for (const key of Object.keys(kept)) if (/^overlap-check(\.|$)/.test(key)) delete kept[key]
  } else if (typeof check === 'object' && typeof kept['overlap-check'] === 'string') {
    kept['overlap-check'] = { template: kept['overlap-check'] }
  }
  if (given['cache-size'] !== undefined) {
    delete kept['l2-cache-size']
    delete kept['refcount-cache-size']
  } else if (given['l2-cache-size'] !== undefined || given['refcount-cache-size'] !== undefined)
    delete kept['cache-size']
  return kept
}
