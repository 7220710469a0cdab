/** The creation options that are declared by hand are those of the drivers, all of them. */
import type { AnyDriver } from '@vmblock/block-core'
import { formats } from '@vmblock/formats'
import { expect, it } from 'vitest'
import type {
  ParallelsCreation,
  Qcow2Creation,
  QedCreation,
  RawCreation,
  VdiCreation,
  VhdxCreation,
} from './creation.ts'

type Keys<T> = Readonly<Record<keyof T, true>>

const DECLARED = {
  qcow2: {
    size: true,
    clusterSize: true,
    extendedL2: true,
    preallocation: true,
    compressionType: true,
    compat: true,
    lazyRefcounts: true,
    dataFileRaw: true,
    keepDataFile: true,
    refcountBits: true,
    encryption: true,
  } satisfies Keys<Qcow2Creation>,
  qed: { size: true, clusterSize: true, tableSize: true } satisfies Keys<QedCreation>,
  raw: { size: true, preallocation: true } satisfies Keys<RawCreation>,
  vhdx: {
    size: true,
    logSize: true,
    blockSize: true,
    subformat: true,
    blockStateZero: true,
  } satisfies Keys<VhdxCreation>,
  vdi: { size: true, static: true } satisfies Keys<VdiCreation>,
  parallels: { size: true, clusterSize: true } satisfies Keys<ParallelsCreation>,
}

/** Said by options of every format (`backing`, `dataFile`), or by `encryption`. */
const ELSEWHERE = /^(backing_file|backing_fmt|data_file|encrypt\..*)$/

it.each(Object.entries(DECLARED))('%s', async (name, declared) => {
  const driver: AnyDriver = formats.find((format) => format.name === name)!
  const { options } = (await driver.creation?.())!
  const keys = Object.keys(options).filter((key) => !ELSEWHERE.test(key))
  const camel = keys.map((key) => key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()))
  expect(camel.sort()).toEqual(Object.keys(declared).sort())
})

it('images can be made in no other format', async () => {
  const made: string[] = []
  for (const format of formats) if (await format.creation?.()) made.push(format.name)
  expect(made.sort()).toEqual(Object.keys(DECLARED).sort())
})
