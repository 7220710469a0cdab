// Draws docs/images/repl.svg: what the REPL of `npm start` prints when it is aborted and started again. A test compares the
// picture with what it prints today. `node scripts/repl-picture.mjs` draws it anew, with the program as it is built.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { at } from './toolchain.mjs'

const PROMPT = 'qemu-io> '

/** What is typed after each `npm start`. */
const STARTS = [['write -P 0x5a 0 64k', 'abort'], ['read -P 0x5a 0 64k']]

/** One start of the REPL with its input, both of its streams in the order in which they were written. */
function start(bin, commands, home) {
  const { stdout } = spawnSync('sh', ['-c', 'exec "$0" "$@" 2>&1', process.execPath, bin, '--scratch'], {
    input: commands.map((command) => `${command}\n`).join(''),
    encoding: 'utf8',
    env: { ...process.env, HOME: home, XDG_STATE_HOME: '', NO_COLOR: '1' },
  })
  // A pipe shows no input: it follows each prompt, as on a terminal.
  const [banner, ...outputs] = stdout.split(PROMPT)
  const shown = outputs.flatMap((output, index) =>
    index < commands.length ? [`${PROMPT}${commands[index]}`, ...output.split('\n')] : [],
  )
  return ['$ npm start', ...banner.split('\n'), ...shown].filter((line) => line !== '')
}

/**
 * What a terminal shows, line by line; times, which differ from run to run, are left out.
 * @param bin the program qemu-io-ts
 */
export function transcript(bin) {
  const home = mkdtempSync(join(tmpdir(), 'vmblock-repl-'))
  try {
    return STARTS.flatMap((commands) => start(bin, commands, home)).map((line) =>
      line.replace(home, '~').replace(/; [\d.]+ sec .*/, '; ...'),
    )
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

const classOf = (line) => {
  if (line.startsWith('$ ') || line.startsWith(PROMPT)) return 'typed'
  return /^(ERROR|Rebuilding|Repairing|The image was)/.test(line) ? 'repair' : 'printed'
}

/** The picture of such lines. */
export function picture(lines) {
  const [width, height] = [900, 20 * lines.length + 32]
  const text = lines.map(
    (line, index) => `<text class="${classOf(line)}" x="18" y="${20 * index + 30}">${escaped(line)}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>A terminal: qemu-io-ts writes and is aborted; the next start repairs the image, and finds the data</title>
<style>text { font: 13px ui-monospace, 'SF Mono', Menlo, Consolas, monospace; white-space: pre }
.screen { fill: #f6f8fa; stroke: #d1d9e0 } .typed { fill: #0550ae; font-weight: 600 } .printed { fill: #1f2328 } .repair { fill: #953800 }
@media (prefers-color-scheme: dark) {
.screen { fill: #151b23; stroke: #3d444d } .typed { fill: #79c0ff } .printed { fill: #f0f6fc } .repair { fill: #ffa657 }
}</style>
<rect class="screen" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${text.join('\n')}
</svg>
`
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const bin = process.argv[2] ?? at('packages', 'qemu-io-ts', 'dist', 'bin.cjs')
  writeFileSync(at('docs', 'images', 'repl.svg'), picture(transcript(bin)))
}
