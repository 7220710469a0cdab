/** Host errors in C's words: from real calls, for every errno, and for errnos that Node cannot name. */
import { symlinkSync } from 'node:fs'
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { codeOfErrno, errnoOf, errorText, strerror } from '../base/errno.ts'
import type { BlockErrorCode } from '../base/errors.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { file } from './file.ts'
import { nodeHost } from './file-resolver.ts'
import { fromHostError, hostCodeOf, learnHostErrors } from './host-error.ts'
import { ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())
const environment = { registry: new DriverRegistry([file]), host: nodeHost() }

describe('what the host says', () => {
  it('of a loop of links', async () => {
    const loop = scratch.newFile()
    symlinkSync(loop, loop)
    await expect(openNode(environment, { driver: 'file', filename: loop })).rejects.toMatchObject({
      code: 'ELOOP',
      message: `Could not open '${loop}': Too many levels of symbolic links`,
    })
    await expect(
      file.createFile!({ filename: loop, aio: 'adaptive', locking: 'auto' }, 0, 'off'),
    ).rejects.toMatchObject({
      code: 'ELOOP',
      message: `Could not create '${loop}': Too many levels of symbolic links`,
    })
  })

  it('of a name that no file can have', async () => {
    await expect(openNode(environment, { driver: 'file', filename: 'a\0b' })).rejects.toMatchObject({
      code: 'EINVAL',
      message: "Could not open 'a\0b': Invalid argument",
    })
  })

  it('has words for every errno of this system, and for whatever Node calls by a name', () => {
    const names = [
      ...Object.keys(constants.errno),
      ...[...getSystemErrorMap().values()].map(([name]) => name),
    ]
    for (const name of names.filter((each) => each.startsWith('E') && !each.startsWith('EAI_'))) {
      const error = Object.assign(new Error(`${name}: raw words of node, open 'x'`), { code: name })
      const { code, message } = fromHostError(error, 'Could not open')
      expect([name, message]).not.toEqual([name, 'Could not open: Unknown error'])
      expect(message).not.toMatch(/raw words|UNKNOWN/)
      if (!['EIO', 'EOF'].includes(name))
        expect([name, message]).not.toEqual([name, 'Could not open: Input/output error'])
      expect(errorText({ code })).toBe(strerror(code))
    }
  })

  it.each([
    [2, 'ENOENT', 'No such file or directory'],
    [6, 'ENXIO', 'No such device or address'],
    [9, 'EBADF', 'Bad file descriptor'],
    [18, 'EXDEV', 'Invalid cross-device link'],
    [19, 'ENODEV', 'No such device'],
    [26, 'ETXTBSY', 'Text file busy'],
    [27, 'EFBIG', 'File too large'],
    [31, 'EMLINK', 'Too many links'],
    [38, 'ENOSYS', 'Function not implemented'],
    [39, 'ENOTEMPTY', 'Directory not empty'],
    [40, 'ELOOP', 'Too many levels of symbolic links'],
    [75, 'EOVERFLOW', 'Value too large for defined data type'],
    [116, 'ESTALE', 'Stale file handle'],
    [117, 'EUCLEAN', 'Structure needs cleaning'],
    [133, 'EIO', 'Input/output error'],
  ] as const)('has the number %i: %s', (number, code, words) => {
    learnHostErrors()
    expect([codeOfErrno(number), strerror(codeOfErrno(number))]).toEqual([code, words])
    if (number < 133) expect(errnoOf(code as BlockErrorCode)).toBe(number)
  })

  it.skipIf(process.platform !== 'linux')('is understood where Node has no name for it', () => {
    const unnamed = (errno: number) =>
      Object.assign(new Error('x'), { code: `Unknown system error -${errno}`, errno: -errno })
    expect(fromHostError(unnamed(116), 'Could not read')).toMatchObject({
      code: 'ESTALE',
      message: 'Could not read: Stale file handle',
    })
    expect([
      hostCodeOf(unnamed(117)),
      hostCodeOf({ code: 'E124' }),
      hostCodeOf({ code: 'UNKNOWN', errno: -4094 }),
    ]).toEqual(['EUCLEAN', 'EMEDIUMTYPE', 'EIO'])
    expect(fromHostError({ code: 'ENOSYS' }, 'x')).toMatchObject({
      code: 'ENOTSUP',
      message: 'x: Function not implemented',
    })
    expect(hostCodeOf(new Error('x'))).toBeUndefined()
  })
})
