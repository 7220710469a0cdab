/** All commands. */
import type { AnyCommand } from '../session/command.ts'
import { aioFlush, aioRead, aioWrite } from './aio.ts'
import { alloc, map } from './allocation.ts'
import { removeBreak, resume, setBreak, waitBreak } from './breakpoints.ts'
import { discard, flush, length, truncate } from './disk.ts'
import { close, open, reopen } from './image.ts'
import { info } from './info.ts'
import { abort, help, quit, sigraise, sleep } from './program.ts'
import { read, readv } from './read.ts'
import { write, writev } from './write.ts'

/** The table for the dispatcher, `help` and completion. */
export const COMMANDS: readonly AnyCommand[] = [
  read,
  readv,
  write,
  writev,
  aioRead,
  aioWrite,
  aioFlush,
  flush,
  truncate,
  length,
  info,
  discard,
  alloc,
  map,
  open,
  close,
  reopen,
  setBreak,
  removeBreak,
  resume,
  waitBreak,
  abort,
  sigraise,
  sleep,
  help,
  quit,
]
