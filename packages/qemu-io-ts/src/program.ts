/** What the process loads to run the program, in one piece: one file is found and compiled faster than several. */
export { FORMATS, nodeEnvironment } from './drivers.ts'
export { cutLines } from './lines.ts'
export { main } from './main.ts'
export { bufferedOutput } from './output.ts'
export { runScratch } from './scratch.ts'
export { terminalInput } from './terminal.ts'
