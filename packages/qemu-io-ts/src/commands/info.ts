/** `info`: what the driver of the image knows. */
import type { BlockNode } from '@vmblock/block-core'
import { defineCommand } from '../command.ts'
import { formatSpecificText } from '../format-specific.ts'
import { describedNode } from '../image.ts'
import { humanSize } from '../report.ts'

/** Whether a driver, or the one it hands requests to, has facts to tell: null devices and memory have none. */
function hasFacts(node: BlockNode): boolean {
  if (node.driver.kind === 'format' && node.driver.name !== 'raw') return node.can('info')
  return node.file ? hasFacts(node.file.node) : node.can('info')
}

/** `info`. */
export const info = defineCommand({
  name: 'info',
  alias: 'i',
  summary: 'prints information about the current file',
  needsImage: true,
  words: { min: 0, max: 0 },

  async run({ session, node, print }) {
    const described = describedNode(node)
    const name = `format name: ${described.driver.name}\n`
    // Protocols are named twice, as format and as protocol.
    print(described.driver.kind === 'protocol' ? name + name : name)
    if (!hasFacts(described)) return 'failed'
    const facts = await session.wait(described.info())
    print(`cluster size: ${humanSize(facts.clusterSize ?? 0)}\n`)
    print(`vm state offset: ${humanSize(facts.vmStateOffset ?? 0)}\n`)
    if (facts.formatSpecific)
      print(`Format specific information:\n${formatSpecificText(facts.formatSpecific.data)}`)
    return 'ok'
  },
})
