/**
 * The programs under test, interchangeable: ours in this process, ours as processes, or QEMU's own.
 * @module
 */
import type { Settings, SubjectName } from './matrix.ts'
import { processSubject, realSubject } from './subject-process.ts'

/** How one run of a program ended. */
export interface Run {
  /** Exit status as a shell shows it: 128 + n for death by signal n. */
  readonly code: number
  /** Standard output and standard error in the order they were written. */
  readonly text: string
}

/** What a run gets besides its arguments. */
export interface RunOptions {
  /** Standard input; empty if absent. */
  readonly input?: string
}

/** A pair of programs. */
export interface Subject {
  readonly name: SubjectName
  /** Whether these are this project's programs (not QEMU's). */
  readonly ours: boolean
  io(args: readonly string[], options?: RunOptions): Promise<Run>
  img(args: readonly string[], options?: RunOptions): Promise<Run>
}

/** Loads the subject of a run; its two programs may come from different subjects. */
export async function loadSubject({ subject, img }: Pick<Settings, 'subject' | 'img'>): Promise<Subject> {
  const main = await load(subject)
  return subject === img ? main : { ...main, img: (await load(img)).img }
}

async function load(name: SubjectName): Promise<Subject> {
  if (name === 'real') return realSubject()
  if (name === 'process') return processSubject()
  const { inProcessSubject } = await import('./subject-in-process.ts')
  return inProcessSubject()
}
