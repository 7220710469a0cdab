/** The program as the process loads it: one bundled file is found and compiled faster than several. */
export { bufferedOutput, programEnvironment } from '@vmblock/cli'
export { main } from './main.ts'
export { terminalBar } from './terminal-bar.ts'
