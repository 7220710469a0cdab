import { openNode } from '@vmblock/block-core'
export const f = openNode
