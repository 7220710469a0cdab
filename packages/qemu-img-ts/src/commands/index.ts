/** All subcommands by name, loaded on use: scripts start this program thousands of times. */
import type { AnyCommand } from '../kit/command.ts'

/** Subcommands, with the functions that load them. */
export const commands: Readonly<Record<string, () => Promise<AnyCommand>>> = {
  amend: async () => (await import('./amend.ts')).amend,
  bitmap: async () => (await import('./bitmap.ts')).bitmap,
  bench: async () => (await import('./bench.ts')).bench,
  check: async () => (await import('./check.ts')).check,
  commit: async () => (await import('./commit.ts')).commit,
  compact: async () => (await import('./compact.ts')).compact,
  compare: async () => (await import('./compare.ts')).compare,
  completion: async () => (await import('./completion.ts')).completion,
  convert: async () => (await import('./convert.ts')).convert,
  create: async () => (await import('./create.ts')).create,
  dd: async () => (await import('./dd.ts')).dd,
  info: async () => (await import('./info.ts')).info,
  map: async () => (await import('./map.ts')).map,
  measure: async () => (await import('./measure.ts')).measure,
  rebase: async () => (await import('./rebase.ts')).rebase,
  resize: async () => (await import('./resize.ts')).resize,
  snapshot: async () => (await import('./snapshot.ts')).snapshot,
}
