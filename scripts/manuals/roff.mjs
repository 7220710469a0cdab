// Sets a manual for man: roff, with the macros of man(7).

/** A text of a line: what roff would take for an instruction, or a dash for a hyphen, is escaped. */
const escaped = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1')

const bold = (text) => `\\fB${escaped(text)}\\fR`
const italic = (text) => `\\fI${escaped(text)}\\fR`

/** A term and its explanation. */
const term = (shown, help) => `.TP\n${shown}\n${escaped(help)}\n`

const option = ({ spellings, argument, help }) =>
  term(`${spellings.map(bold).join(', ')}${argument === undefined ? '' : ` ${italic(argument)}`}`, help)

const operand = ([name, help]) => term(italic(name), help)

/** A command line as it is typed: not filled. */
const typed = (line) => `.PP\n.RS\n.nf\n${escaped(line)}\n.fi\n.RE\n`

const paragraph = (text) => `.PP\n${escaped(text)}\n`

const command = ({ name, summary, details, synopsis, operands, options, example }) =>
  `.SS ${escaped(name)}\n${bold(synopsis)}\n${paragraph([summary, ...details].join(' '))}` +
  operands.map(operand).join('') +
  options.map(option).join('') +
  (example === undefined ? '' : `.PP\nExample:\n${typed(example)}`)

const replCommand = ({ name, alias, synopsis, summary, lines, options }) =>
  `.SS ${escaped(name)}\n${bold(synopsis)}${alias === undefined ? '' : ` (short: ${bold(alias)})`}\n` +
  paragraph(`${summary[0].toUpperCase()}${summary.slice(1)}.`) +
  lines.map(paragraph).join('') +
  options.map(option).join('')

/** The page of a program. */
export function roffPage(manual) {
  const { name, summary, description, synopsis, options, operands, parameters, commands, repl, formats } =
    manual
  return [
    `.\\" Made by scripts/manuals.mjs from the tables of the program.\n`,
    `.TH ${name.toUpperCase()} 1 "" vmblock "User Commands"\n`,
    `.SH NAME\n${escaped(name)} \\- ${escaped(summary)}\n`,
    `.SH SYNOPSIS\n${bold(synopsis)}\n`,
    `.SH DESCRIPTION\n${escaped(description.join(' '))}\n`,
    paragraph(`Formats of images: ${formats.join(', ')}.`),
    `.SH OPTIONS\n${options.map(option).join('')}${operands.map(operand).join('')}`,
    parameters.length > 0 ? `.SH ARGUMENTS\n${parameters.map(operand).join('')}` : '',
    commands.length + repl.length > 0 ? '.SH COMMANDS\n' : '',
    commands.map(command).join(''),
    repl.map(replCommand).join(''),
    `.SH EXAMPLES\n${typed(manual.example)}`,
    '.SH SEE ALSO\n',
    `.BR ${escaped(name === 'qemu-img-ts' ? 'qemu-io-ts' : 'qemu-img-ts')} (1)\n`,
  ].join('')
}
