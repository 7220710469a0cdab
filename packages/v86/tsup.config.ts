import { library } from '../../tsup.library.ts'

export default library(
  {
    index: 'src/index.ts',
    node: 'src/node.ts',
    browser: 'src/browser.ts',
    'opfs-worker': 'src/opfs-worker.ts',
  },
  // A worker has no import maps: what it is made of is in it.
  { inside: [/^@vmblock\/block-core\/opfs-worker$/] },
)
