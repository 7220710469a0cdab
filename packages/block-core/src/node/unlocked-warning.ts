/** What is said, once, where images are written without the locks that QEMU minds. */

const LINE =
  'images are locked against other processes of vmblock only: QEMU neither sees these locks nor are its own seen, ' +
  'for this system has no file locks, or the package koffi is not installed. ' +
  'VMBLOCK_LOCK_WARNING=off, or locking=off of an image, keeps this from being said'

/** Known to threads that are started later, too. */
const TOLD = 'vmblock:unlocked-warning'

/** Tells it to the first that asks in this thread; to nobody where the environment says so. */
export function tellUnlocked(tell: (line: string) => void): void {
  const { getEnvironmentData, setEnvironmentData } = process.getBuiltinModule('node:worker_threads')
  if (process.env['VMBLOCK_LOCK_WARNING'] === 'off' || getEnvironmentData(TOLD)) return
  setEnvironmentData(TOLD, true)
  tell(LINE)
}

/** As Node says such things: `node --no-warnings` keeps it silent. */
export const tellProcess = (line: string): void =>
  process.emitWarning(line, { type: 'VmblockWarning', code: 'VMBLOCK_UNLOCKED' })
