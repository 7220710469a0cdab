import { library } from '../../tsup.library.ts'

// Only pages use it; in Node.js there is OpenSSL.
export default library({ inside: [/^@noble\//] })
