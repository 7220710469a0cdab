/** `completion`: prints a script with which a shell completes command lines of this program. */
import { completionScript, SHELLS, usageFailure } from '@vmblock/cli'
import { defineCommand } from '../kit/command.ts'

const options = {} as const

/** The subcommand. */
export const completion = defineCommand({
  name: 'completion',
  summary: 'print a script that lets a shell complete command lines',
  details: [
    'For bash, put the script into ~/.local/share/bash-completion/completions/qemu-img-ts; for zsh, into a file',
    '_qemu-img-ts in a directory of fpath; for fish, into ~/.config/fish/completions/qemu-img-ts.fish. To try it in bash',
    'or zsh: eval "$(qemu-img-ts completion bash)".',
  ],
  options,
  operands: SHELLS.join('|'),
  operandValues: SHELLS,
  example: 'completion bash',

  async run({ operands, output, program }) {
    const [shell, ...more] = operands
    if (shell === undefined || more.length > 0) throw usageFailure('Expecting the name of a shell')
    output.print(completionScript(shell, await program()))
    return 0
  },
})
