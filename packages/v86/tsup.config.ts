import { library } from '../../tsup.library.ts'

export default library({ index: 'src/index.ts', node: 'src/node.ts', browser: 'src/browser.ts' })
