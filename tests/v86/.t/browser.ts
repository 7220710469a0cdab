import { v86Disk } from '@vmblock/v86/browser'
export const disk = await v86Disk({ overlay: { opfs: 'disk.qcow2' }, base: {url: 'disk.qcow2'} })
