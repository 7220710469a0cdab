/** What docs/errors.md finds: a file that is no image. */
import { writeFile } from 'node:fs/promises'

/** Makes the file. */
export const prepare = (): Promise<void> =>
  writeFile('text.txt', 'This is text, and no image of any format.\n'.repeat(100))
