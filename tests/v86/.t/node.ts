import { v86Disk } from '@vmblock/v86/node'
export const disk = await v86Disk({ file: 'disk.qcow2', size: '2G' })
