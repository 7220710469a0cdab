/** Detection of a directory's file system. */
import { expect, test } from 'vitest'
import { fileSystemIn } from './media.ts'

const MOUNTS = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /dev rw - devtmpfs devtmpfs rw
24 23 0:21 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=24g
30 22 8:1 / /mnt/a\\040disk rw shared:1 master:2 - xfs /dev/sda1 rw
31 22 8:2 / /mnt/a\\040disk rw - btrfs /dev/sda2 rw
`

test.each([
  ['/', 'ext4'],
  ['/tmp', 'ext4'],
  ['/dev/shm', 'tmpfs'],
  ['/dev/shm/images', 'tmpfs'],
  ['/dev/shmoo', 'devtmpfs'],
  ['/mnt/a disk/images', 'btrfs'],
])('%s is on %s', (path, kind) => {
  expect(fileSystemIn(MOUNTS, path)).toBe(kind)
})

test('nothing is known without a table', () => {
  expect(fileSystemIn('', '/tmp')).toBeUndefined()
})
