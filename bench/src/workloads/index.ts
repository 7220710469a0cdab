/** Every row of the table, in its order. */
import type { Workload } from '../workload.ts'
import { allocatingWorkloads } from './allocating.ts'
import { commandWorkloads } from './commands.ts'
import { formatWorkloads } from './formats.ts'
import { requestWorkloads } from './requests.ts'

/** Every row of the table, in its order. */
export const WORKLOADS: readonly Workload[] = [
  ...requestWorkloads,
  ...allocatingWorkloads,
  ...commandWorkloads,
  ...formatWorkloads,
]

/** The rows that contain one of the words; all rows if there are no words. */
export function selectWorkloads(words: readonly string[]): readonly Workload[] {
  if (words.length === 0) return WORKLOADS
  const matches = ({ id, title }: Workload): boolean =>
    words.some((word) => `${id} ${title}`.toLowerCase().includes(word.toLowerCase()))
  return WORKLOADS.filter(matches)
}
