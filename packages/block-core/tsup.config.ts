import { library } from '../../tsup.library.ts'

export default library({
  index: 'src/index.ts',
  'browser/index': 'src/browser/index.ts',
  // Named by its URL, never imported: the worker that holds a page's file.
  'browser/opfs-worker': 'src/browser/opfs-worker.ts',
  'node/index': 'src/node/index.ts',
  'testing/index': 'src/testing/index.ts',
})
