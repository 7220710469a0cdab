// The checks of the tree that are not tests: `npm test` and `npm run check` make them.
import { nodeTool, run } from './toolchain.mjs'

const check = (name, tool, ...args) => ({ name, command: [...nodeTool(tool), ...args] })

/** Each is a program that prints what is wrong, and then fails. */
export const CHECKS = [
  check('lint', '@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'),
  check(
    'types',
    'typescript/bin/tsc',
    ...['-p', 'tsconfig.json', '--incremental', '--tsBuildInfoFile', '.cache/types.tsbuildinfo'],
  ),
  check('doc comments', '../scripts/check-docs.mjs'),
  check('links', '../scripts/check-links.mjs'),
  check('layers', '../scripts/check-layers.mjs'),
]

/** `npm test` alone checks what users will install, by a sample of the projects of `npm run packages`, and read. */
export const PUBLISHED = [
  check('packed packages', '../scripts/check-packages.mjs', '--sample'),
  check('API reference', '../scripts/docs.mjs'),
]

/** Runs a check, and prints its outcome. @returns whether it passed */
export async function passes({ name, command: [node, ...args] }) {
  const started = performance.now()
  console.log(`....  ${name}`)
  const { code, output } = await run(node, args)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${code === 0 ? ' ok ' : 'FAIL'}  ${name} (${seconds} s)`)
  if (code !== 0) console.log(output.trimEnd())
  return code === 0
}
