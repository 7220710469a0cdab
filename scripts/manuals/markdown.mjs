// Writes a manual as a page of docs/.

/** A text of a table's cell: no signs that Markdown or HTML would take for its own. */
const cell = (text) => text.replaceAll(/[|<*_`]/g, '\\$&')
const code = (text) => `\`${text.replaceAll('|', '\\|')}\``

const table = (head, rows) =>
  rows.length === 0
    ? ''
    : `\n| ${head} | |\n| --- | --- |\n${rows.map((row) => `| ${row.join(' | ')} |\n`).join('')}`

const optionRow = ({ spellings, argument, help }) => [
  `${spellings.map(code).join(', ')}${argument === undefined ? '' : ` ${cell(argument)}`}`,
  cell(help),
]

const operandRow = ([name, help]) => [cell(name), cell(help)]

/** A text of a paragraph. */
const text = (line) => line.replaceAll(/[<*]/g, '\\$&')

const command = ({ name, summary, details, synopsis, operands, options, example }) =>
  `\n## ${name}\n\n\`${synopsis}\`\n\n${text([summary, ...details].join(' '))}\n` +
  table('argument', operands.map(operandRow)) +
  table('option', options.map(optionRow)) +
  (example === undefined ? '' : `\nExample: \`${example}\`\n`)

const replCommand = ({ name, alias, synopsis, summary, lines, options }) =>
  `\n### ${name}\n\n\`${synopsis}\`${alias === undefined ? '' : `, short: \`${alias}\``}\n\n` +
  [`${summary[0].toUpperCase()}${summary.slice(1)}.`, ...lines].map((line) => `${text(line)}\n`).join('\n') +
  table('option', options.map(optionRow))

/** The page of a program. */
export function markdownPage(manual) {
  const { name, description, synopsis, options, operands, parameters, commands, repl, formats, example } =
    manual
  return [
    '<!-- Made by scripts/manuals.mjs from the tables of the program. -->\n\n',
    `# ${name}\n\n\`${synopsis}\`\n\n${text(description.join(' '))}\n\n`,
    `Formats of images: ${formats.join(', ')}. Example: \`${example}\`\n`,
    table('option', options.map(optionRow)),
    table('argument', [...operands, ...parameters].map(operandRow)),
    commands.map(command).join(''),
    repl.length === 0 ? '' : '\n## Commands\n',
    repl.map(replCommand).join(''),
  ].join('')
}
