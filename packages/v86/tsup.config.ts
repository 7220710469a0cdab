import { library } from '../../tsup.library.ts'

export default library(
  {
    index: 'src/index.ts',
    node: 'src/node.ts',
    browser: 'src/browser.ts',
    'opfs-worker': 'src/opfs-worker.ts',
  },
  // Workers have no import maps: bundle everything the script imports.
  { inside: [/^@vmblock\/block-core\/opfs-worker$/] },
)
