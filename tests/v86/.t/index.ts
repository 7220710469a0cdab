import { V86Disk } from '@vmblock/v86'
export const f = V86Disk
