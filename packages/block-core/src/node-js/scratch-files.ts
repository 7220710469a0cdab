/** For tests of the `file` driver: host files in a directory that is removed when the tests end. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import type { RawOptions } from '../text/options.ts'
import { type FileDriverParts, file, fileDriver } from './file.ts'
import { nodeHost } from './file-resolver.ts'

/** A temporary directory of numbered files. */
export class ScratchFiles {
  readonly directory = mkdtempSync(join(tmpdir(), 'vmblock-file-'))
  #count = 0

  /** Makes a new host file with this content; without content, only its name. @returns the path */
  newFile(content?: string | Uint8Array): string {
    const path = join(this.directory, `file-${this.#count++}`)
    if (content !== undefined) writeFileSync(path, content)
    return path
  }

  /** Whether the file system supports O_DIRECT: without it, tests of O_DIRECT prove nothing. */
  async takesDirect(): Promise<boolean> {
    try {
      const node = await openFile(this.newFile('x'), { cache: { direct: true } })
      await node.close()
      return true
    } catch {
      return false
    }
  }

  remove(): void {
    rmSync(this.directory, { recursive: true })
  }
}

/** Opens a host file as a node, with the usual driver or with one made of `parts`. */
export function openFile(
  filename: string,
  options: RawOptions = {},
  parts?: FileDriverParts,
): Promise<BlockNode> {
  const registry = new DriverRegistry([parts ? fileDriver(parts) : file])
  return openNode({ registry, host: nodeHost() }, { driver: 'file', filename, ...options })
}

/** Counts the open descriptors of this process for a file (Linux). */
export function descriptorsOf(path: string): number {
  const target = (fd: string): string | undefined => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      // The descriptor that listed the directory is closed by now.
      return undefined
    }
  }
  return readdirSync('/proc/self/fd').filter((fd) => target(fd) === path).length
}
