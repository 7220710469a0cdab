import { library } from '../../tsup.library.ts'

export default library({
  index: 'src/index.ts',
  'node/index': 'src/node/index.ts',
  'testing/index': 'src/testing/index.ts',
})
