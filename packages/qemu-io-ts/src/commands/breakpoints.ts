/** `break`, `remove_break`, `resume`, `wait_break`: a blkdebug filter below suspends requests at events. */
import { BlockError, type BlockNode } from '@vmblock/block-core'
import { type Breakpoints, breakpointsOf } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { defineCommand, Stop } from '../session/command.ts'

/** The breakpoints of the nearest filter that has them. @throws BlockError ENOTSUP */
function requireBreakpoints(node: BlockNode): Breakpoints {
  const breakpoints = breakpointsOf(node)
  if (!breakpoints) throw new BlockError('ENOTSUP', 'no blkdebug filter below', { node: node.name })
  return breakpoints
}

/** Runs a change of breakpoints. @throws Stop that begins with `what` */
function attempt(what: string, change: () => void): 'ok' {
  try {
    change()
  } catch (error) {
    throw new Stop(`${what}: ${errorText(error)}\n`)
  }
  return 'ok'
}

/** `break`. */
export const setBreak = defineCommand({
  name: 'break',
  usage: 'event tag',
  summary: 'sets a breakpoint on event and tags the stopped request as tag',
  needsImage: true,
  wordCount: { min: 2, max: 2 },

  run: async ({ node, operands: [event, tag] }) =>
    attempt('Could not set breakpoint', () => requireBreakpoints(node).set(event!, tag!)),
})

/** `remove_break`. */
export const removeBreak = defineCommand({
  name: 'remove_break',
  usage: 'tag',
  summary: 'remove a breakpoint by tag',
  needsImage: true,
  wordCount: { min: 1, max: 1 },

  run: async ({ node, operands: [tag] }) =>
    attempt(`Could not remove breakpoint ${tag}`, () => requireBreakpoints(node).remove(tag!)),
})

/** `resume`. */
export const resume = defineCommand({
  name: 'resume',
  usage: 'tag',
  summary: 'resumes the request tagged as tag',
  needsImage: true,
  wordCount: { min: 1, max: 1 },

  run: async ({ node, operands: [tag] }) =>
    attempt('Could not resume request', () => requireBreakpoints(node).resume(tag!)),
})

/** Forever is waited in days: a timer that exceeds the host's limit would fire at once. */
const DAY = 86_400_000

/** `wait_break`. Without blkdebug it waits forever, as QEMU does. */
export const waitBreak = defineCommand({
  name: 'wait_break',
  usage: 'tag',
  summary: 'waits for the suspension of a request',
  needsImage: true,
  wordCount: { min: 1, max: 1 },

  async run({ session, node, operands: [tag] }) {
    const over = new AbortController()
    const suspended = breakpointsOrNever(node, tag!).then(() => over.abort())
    // A pending promise alone does not keep the process alive; a timer does.
    while (!over.signal.aborted)
      await session.wait(Promise.race([suspended, session.services.sleep(DAY, over.signal)]), null)
    return 'ok'
  },
})

function breakpointsOrNever(node: BlockNode, tag: string): Promise<void> {
  try {
    return requireBreakpoints(node).wait(tag)
  } catch {
    return new Promise(() => {})
  }
}
