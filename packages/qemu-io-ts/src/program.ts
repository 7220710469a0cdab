/** The program as the process loads it: one bundled file is found and compiled faster than several. */
export { bufferedOutput, FORMATS, programEnvironment } from '@vmblock/cli'
export { HISTORY_LINES, openHistory } from './history.ts'
export { main } from './main.ts'
export { runScratch } from './scratch.ts'
export { cutLines } from './session/lines.ts'
export { terminalInput } from './terminal.ts'
