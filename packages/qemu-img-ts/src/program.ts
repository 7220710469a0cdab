/** What the process loads to run the program, in one piece: one file is found and compiled faster than several. */
export { bufferedOutput, nodeEnvironment } from '@vmblock/cli'
export { main } from './main.ts'
