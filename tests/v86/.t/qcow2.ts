import { qcow2 } from '@vmblock/qcow2'
export const f = qcow2
