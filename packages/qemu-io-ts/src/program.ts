/** What the process loads to run the program, in one piece: one file is found and compiled faster than several. */
export { bufferedOutput, FORMATS, nodeEnvironment } from '@vmblock/cli'
export { cutLines } from './lines.ts'
export { main } from './main.ts'
export { runScratch } from './scratch.ts'
export { terminalInput } from './terminal.ts'
