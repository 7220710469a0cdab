// `prepack` of every package. npm would leave `workspace:` in the manifest, and the tarball could not be installed: npm is
// refused, with the command that packs. For pnpm the package is brought up to date first.
import { setup } from '../setup.mjs'
import { at, Failure, fail, readJson } from '../toolchain.mjs'

/** @param agent what the packing program says of itself: `npm_config_user_agent` */
export function requirePnpm(agent = '') {
  if (agent.startsWith('pnpm/')) return
  const { packageManager } = readJson(at('package.json'))
  throw new Failure(
    [
      'npm would make a tarball that cannot be installed. To pack this package:',
      `  npx ${packageManager} pack`,
      'and all of them, which is what can be installed before a release, from the root of the repository:',
      '  npm run packages -- --pack DIRECTORY',
    ].join('\n'),
  )
}

async function main() {
  requirePnpm(process.env.npm_config_user_agent)
  await setup({ types: true })
}

if (process.argv[1]?.endsWith('prepack.mjs')) await main().catch(fail)
