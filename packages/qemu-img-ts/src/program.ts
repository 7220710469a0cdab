/** What the process loads to run the program, in one piece: one file is found and compiled faster than several. */
export { nodeDrivers } from './drivers.ts'
export { main } from './main.ts'
