// `npm run docs`: the API reference of all packages, from their doc comments, with the pages of docs/ beside it, as a
// website in .cache/docs. It fails on a {@link} that leads nowhere. What has to have a comment is said by
// tests/repo/public-api.test.ts, and links between pages are followed by check-links.mjs: both are quicker.
import { relative } from 'node:path'
import { Application } from 'typedoc'
import { workspaceEntries } from './package-entries.mjs'
import { at, Failure, fail, root, say } from './toolchain.mjs'

const OUT = at('.cache', 'docs')

/** Entries that users import, by name. Those for tests are for packages of this repository. */
const entries = new Map([...workspaceEntries(root)].filter(([name]) => !name.endsWith('/testing')))

/** What TypeDoc calls the module of an entry. */
const moduleOf = (source) =>
  relative(root, source)
    .replaceAll('\\', '/')
    .replace(/(\/index)?\.ts$/, '')

async function main() {
  const app = await Application.bootstrap({
    name: 'vmblock',
    entryPoints: [...entries.values()],
    alwaysCreateEntryPointModule: true,
    tsconfig: at('tsconfig.json'),
    basePath: root,
    displayBasePath: root,
    out: OUT,
    readme: at('README.md'),
    projectDocuments: [
      at('ARCHITECTURE.md'),
      at('SECURITY.md'),
      at('docs', '*.md'),
      at('docs', 'decisions', '*.md'),
    ],
    excludeInternal: true,
    excludePrivate: true,
    excludeProtected: true,
    // `tsc` does that.
    skipErrorChecking: true,
    // The same reference from every clone, with a remote or without.
    disableSources: true,
    validation: {
      notExported: false,
      invalidLink: true,
      // Pages also link to folders, which TypeDoc does not follow.
      invalidPath: false,
      rewrittenLink: true,
      notDocumented: false,
      unusedMergeModuleWith: true,
    },
    treatWarningsAsErrors: true,
  })
  const project = await app.convert()
  if (!project) throw new Failure('TypeDoc could not read the packages')
  // Named as users import them, not by file.
  const names = new Map([...entries].map(([name, source]) => [moduleOf(source), name]))
  for (const module of project.children ?? []) {
    const name = names.get(module.name)
    if (name === undefined) throw new Failure(`no entry is called ${module.name}`)
    module.name = name
  }
  app.validate(project)
  await app.generateOutputs(project)
  if (app.logger.hasErrors() || app.logger.hasWarnings()) throw new Failure('the reference has errors')
  say(`the reference is in ${relative(root, OUT)}/index.html`)
}

main().catch(fail)
