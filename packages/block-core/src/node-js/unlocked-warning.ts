/** The warning, given once, that images are written without locks that QEMU respects. */

const LINE =
  'images are locked against other processes of vmblock only: QEMU neither sees these locks nor are its own seen, ' +
  'for this system has no file locks, or the package koffi is not installed. ' +
  'VMBLOCK_LOCK_WARNING=off, or locking=off of an image, keeps this from being said'

/** Environment data that threads started later inherit, so that they do not warn again. */
const TOLD = 'vmblock:unlocked-warning'

/** Passes the warning to the first caller in this thread, unless the environment disables it. */
export function tellUnlocked(tell: (line: string) => void): void {
  const { getEnvironmentData, setEnvironmentData } = process.getBuiltinModule('node:worker_threads')
  if (process.env['VMBLOCK_LOCK_WARNING'] === 'off' || getEnvironmentData(TOLD)) return
  setEnvironmentData(TOLD, true)
  tell(LINE)
}

/** Emits the line as a warning of the process: `node --no-warnings` silences it. */
export const tellProcess = (line: string): void =>
  process.emitWarning(line, { type: 'VmblockWarning', code: 'VMBLOCK_UNLOCKED' })
