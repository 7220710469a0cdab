import { program } from '../../tsup.program.ts'

export default program()
