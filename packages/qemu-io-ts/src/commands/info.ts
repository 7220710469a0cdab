/** `info`: prints the facts that the driver has about the image. */
import type { BlockNode } from '@vmblock/block-core'
import { factsText } from '@vmblock/cli'
import { defineCommand } from '../session/command.ts'
import { describedNode } from '../session/image.ts'
import { humanSize } from '../session/report.ts'

/** Drivers without facts in QEMU, so that its `info` fails after the first line. */
const WITHOUT_FACTS = new Set(['null-co', 'quorum', 'snapshot-access'])

/** Whether the driver of a node has facts; for a filter or raw image, that of the node below. */
function hasFacts(node: BlockNode): boolean {
  if (!node.can('info') || WITHOUT_FACTS.has(node.driver.name)) return false
  const { file } = node
  const isTransparent = node.driver.kind === 'filter' || node.driver.name === 'raw'
  return isTransparent && file ? hasFacts(file.node) : true
}

/** `info`. */
export const info = defineCommand({
  name: 'info',
  alias: 'i',
  summary: 'prints information about the current file',
  needsImage: true,
  wordCount: { min: 0, max: 0 },

  async run({ session, node, print }) {
    const described = describedNode(node)
    const name = `format name: ${described.driver.name}\n`
    // What file names can name is printed twice, as format and as protocol.
    const { kind, prefixes = [] } = described.driver
    print(kind === 'protocol' || prefixes.length > 0 ? name + name : name)
    if (!hasFacts(described)) return 'failed'
    const facts = await session.wait(described.info())
    print(`cluster size: ${humanSize(facts.clusterSize ?? 0)}\n`)
    print(`vm state offset: ${humanSize(facts.vmStateOffset ?? 0)}\n`)
    const { formatSpecific } = facts
    if (formatSpecific)
      print(
        `Format specific information:\n${factsText(formatSpecific.data, (name) => session.output.shown(name))}`,
      )
    return 'ok'
  },
})
