/** What the process loads to run the program, in one piece. */
export { FORMATS, nodeEnvironment } from './drivers.ts'
export { main } from './main.ts'
export { bufferedOutput } from './output.ts'
