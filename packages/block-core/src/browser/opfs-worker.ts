/** The worker that opens a file for a page, which cannot open a synchronous handle itself. */
import { isBlockError, messageOf } from '../base/errors.ts'
import { type OpfsFile, openHandle } from './opfs-handle.ts'
import type { OpfsCall, OpfsReady, OpfsReply } from './opfs-messages.ts'

let file: OpfsFile | undefined
/** The latest answer: calls are answered in order, even while the first is still opening the file. */
let last: Promise<void> = Promise.resolve()

async function answer(call: OpfsCall): Promise<OpfsReply> {
  if (call.kind === 'open') {
    file = await openHandle(call.request)
    return { ok: true, size: file.initialSize }
  }
  if (!file) throw new Error('the file is not open')
  switch (call.kind) {
    case 'read': {
      const data = new Uint8Array(call.bytes)
      await file.read(call.offset, data)
      return { ok: true, data }
    }
    case 'write':
      await file.write(call.offset, call.data)
      break
    case 'truncate':
      await file.truncate(call.size)
      break
    case 'flush':
      await file.flush()
      break
    default:
      await file.close()
  }
  return { ok: true }
}

async function reply(call: OpfsCall): Promise<void> {
  let said: OpfsReply
  try {
    said = await answer(call)
  } catch (error) {
    said = { ok: false, code: isBlockError(error) ? error.code : 'EIO', message: messageOf(error) }
  }
  const data = said.ok ? said.data : undefined
  postMessage(said, { transfer: data ? [data.buffer] : [] })
}

addEventListener('message', ({ data }: MessageEvent<OpfsCall>) => {
  last = last.then(() => reply(data))
})

postMessage({ ready: true } satisfies OpfsReady)
