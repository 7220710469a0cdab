import { library } from '../../tsup.library.ts'

// Workers have no import maps: bundle everything the script imports.
export default library({ inside: [/^@vmblock\/block-core\/opfs-worker$/] })
