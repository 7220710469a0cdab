/**
 * Application code compiles in strict mode against the published packages and v86's own declarations, with
 * only the platform types that it needs: Node.js without the DOM, the DOM without Node.js, and for the core
 * neither.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type TypeScript from 'typescript'
import { describe, expect, it } from 'vitest'

const require = createRequire(import.meta.url)
const here = fileURLToPath(new URL('.', import.meta.url))
const isBuilt = existsSync(fileURLToPath(new URL('../../packages/v86/dist/node.d.ts', import.meta.url)))

/** One application. */
interface Application {
  readonly lib: readonly string[]
  readonly types: readonly string[]
  readonly source: string
}

const drives = (type: string): string => `
import { attachDisk, type V86Disk } from '@vmblock/v86'
import { V86, type V86Image } from 'v86'
const image: V86Image = disk
const emulator = new V86({ hda: disk, hdb: disk, cdrom: disk, fda: disk, autostart: false })
attachDisk(emulator, disk)
export const made: ${type} = { disk, image, emulator }
`
const made = '{ disk: V86Disk; image: V86Image; emulator: V86 }'

const APPLICATIONS: Readonly<Record<string, Application>> = {
  'the core': {
    lib: ['lib.es2022.d.ts'],
    types: [],
    source: `
import { denyHost, DriverRegistry, formatImage, memory, openNode } from '@vmblock/block-core'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'
const environment = { registry: new DriverRegistry([memory, qcow2, qed, raw]), host: denyHost }
const file = await openNode(environment, { driver: 'memory' })
await formatImage(qcow2, file, { size: '1G', lazyRefcounts: true })
`,
  },
  'a disk in Node': {
    lib: ['lib.es2022.d.ts'],
    types: ['node'],
    source: `
import { v86Disk } from '@vmblock/v86/node'
const disk = await v86Disk({ file: 'disk.qcow2', size: '2G' })
${drives(made)}`,
  },
  'a disk in a browser': {
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
    types: [],
    source: `
import { exportImage, v86Disk } from '@vmblock/v86/browser'
const worker = (): Worker => new Worker(new URL('@vmblock/v86/opfs-worker', location.href), { type: 'module' })
const disk = await v86Disk({ overlay: { opfs: 'mine.qcow2', worker }, base: { url: 'disk.qcow2' } })
export const file: File = (await exportImage(disk, { worker, signal: AbortSignal.timeout(1) })).file
${drives(made)}`,
  },
}

const RESOLUTIONS = [
  ['node16', 'Node16', 'Node16'],
  ['nodenext', 'NodeNext', 'NodeNext'],
  ['bundler', 'ESNext', 'Bundler'],
] as const

describe.skipIf(!isBuilt).each([
  ['5.9', 'typescript'],
  ['5.5', 'typescript-5.5'],
])('TypeScript %s compiles', (_, name) => {
  const ts = require(name) as typeof TypeScript
  const parsed = new Map<string, TypeScript.SourceFile | undefined>()

  /**
   * The compiler's messages about an application; those about v86's own declarations, which need the DOM, are
   * left out.
   */
  function complaints({ source, lib, types }: Application, more: TypeScript.CompilerOptions): string[] {
    const main = `${here}application.ts`
    const options: TypeScript.CompilerOptions = {
      strict: true,
      noEmit: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      // TypeScript's own libraries are not under test, and would take most of the time.
      skipDefaultLibCheck: true,
      target: ts.ScriptTarget.ES2022,
      lib: [...lib],
      types: [...types],
      ...more,
    }
    const host = ts.createCompilerHost(options)
    const { getSourceFile, fileExists } = host
    host.fileExists = (path) => path === main || fileExists(path)
    host.getSourceFile = (path, version, ...rest) => {
      if (path === main) return ts.createSourceFile(path, source, version)
      // A module's format depends on how it is resolved; declarations of libraries are the same for all.
      const key = path.includes('/typescript') ? path : `${JSON.stringify(version)}${path}`
      if (!parsed.has(key)) parsed.set(key, getSourceFile(path, version, ...rest))
      return parsed.get(key)
    }
    const program = ts.createProgram([main], options, host)
    return ts
      .getPreEmitDiagnostics(program)
      .filter(({ file }) => !file?.fileName.endsWith('/v86.d.ts'))
      .map(
        ({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
      )
  }

  it.each(Object.keys(APPLICATIONS))('%s', { timeout: 300_000 }, (application) => {
    for (const [, module, resolution] of RESOLUTIONS)
      expect(
        complaints(APPLICATIONS[application]!, {
          module: ts.ModuleKind[module],
          moduleResolution: ts.ModuleResolutionKind[resolution],
          skipLibCheck: false,
        }),
      ).toEqual([])
  })

  it('what is wrong is complained about', () => {
    const source = `${APPLICATIONS['a disk in Node']!.source}\nexport const wrong: string = await v86Disk({ file: 1 })`
    const options = {
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      skipLibCheck: true,
    }
    expect(complaints({ ...APPLICATIONS['a disk in Node']!, source }, options)).not.toEqual([])
  })
})
