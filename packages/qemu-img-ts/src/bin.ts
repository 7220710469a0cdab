#!/usr/bin/env node
/** The process around the program: arguments, streams, signals and exit status. Nothing else touches `process`. */
import fs from 'node:fs'
import * as nodeModule from 'node:module'

// Scripts start the program thousands of times: where Node can, its compiled code is kept (22.1+).
const { enableCompileCache } = nodeModule as { enableCompileCache?: () => unknown }
enableCompileCache?.()

/** What C's library takes for a pipe or file: scripts compare files that take both streams, so it shows. */
const BUFFER = 4096

/** Writes all of a text. */
function writeNow(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(fd, bytes, done)
    } catch (error) {
      // A full pipe that does not block is tried again; a reader that has gone is no error of ours, as in QEMU.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

function isTerminal(fd: number): boolean {
  try {
    return fs.fstatSync(fd).isCharacterDevice()
  } catch {
    return false
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const { main, nodeDrivers } = await import('./index.ts')
  const lines = isTerminal(1)
  let held = ''
  const flush = (): void => {
    const text = held
    held = ''
    if (text !== '') writeNow(1, text)
  }
  const out = (text: string): void => {
    held += text
    if (held.length > BUFFER || (lines && text.includes('\n'))) flush()
  }
  const drivers = nodeDrivers({
    readText: (path) => fs.promises.readFile(path, 'utf8'),
    print: (line) => out(`${line}\n`),
  })
  return main(
    argv,
    { out, err: (text) => writeNow(2, text), flush },
    {
      ...drivers,
      removeFile: (path) => fs.promises.unlink(path),
      realPath: (path) => fs.promises.realpath(path).catch(() => undefined),
      onProgressRequest(listener) {
        process.on('SIGUSR1', listener)
        return () => process.off('SIGUSR1', listener)
      },
    },
  )
}

run(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    writeNow(2, `qemu-img: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
