/** Scripts that let shells complete a program's command lines, from its tables. */
import type { ProgramTable } from '../kit/command.ts'
import { usageFailure } from '../kit/failure.ts'
import { bashCompletion } from './bash.ts'
import { fishCompletion } from './fish.ts'
import { zshCompletion } from './zsh.ts'

const SCRIPTS: Readonly<Record<string, (program: ProgramTable) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
}

/** The shells that there are scripts for. */
export const SHELLS: readonly string[] = Object.keys(SCRIPTS)

/** The script for a shell. @throws Failure for other shells */
export function completionScript(shell: string, program: ProgramTable): string {
  const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined
  if (!script) throw usageFailure(`No completion for '${shell}': expecting ${SHELLS.join(', ')}`)
  return script(program)
}
