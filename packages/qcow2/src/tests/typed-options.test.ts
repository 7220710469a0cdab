/**
 * The options of nodes are typed by the drivers that an environment, or a call, names: each `@ts-expect-error` stands for
 * a mistake that does not compile. What compiles works, and what does not is refused at run time, too, in the spelling
 * that was given.
 */
import {
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  type OpenEnvironment,
  openNode,
  passThrough,
  reopenNode,
} from '@vmblock/block-core'
import { expect, it } from 'vitest'
import { qcow2 } from '../driver.ts'

const environment = { registry: new DriverRegistry([memory, qcow2, passThrough]), host: denyHost }
/** Knows no driver. */
const nothing = { registry: new DriverRegistry([]), host: denyHost }

async function image() {
  const file = await openNode(environment, { driver: 'memory' })
  await formatImage(qcow2, file, { size: '1M', lazyRefcounts: true, clusterSize: 4096, compat: 'v3' })
  return file
}

const refusal = (run: Promise<unknown>): Promise<string> =>
  run.then(
    () => 'nothing',
    (error: Error) => error.message,
  )

it('options of drivers that the registry knows', async () => {
  const disk = await openNode(environment, {
    driver: 'qcow2',
    file: await image(),
    backing: null,
    lazyRefcounts: true,
    l2CacheSize: '1M',
    overlapCheck: { template: 'none', refcountTable: true },
    cache: { noFlush: true },
    discard: 'unmap',
  })
  const inner = await openNode(environment, {
    driver: 'pass-through',
    file: { driver: 'memory', size: '1M' },
  })
  expect([disk.size, inner.size]).toEqual([2 ** 20, 2 ** 20])
  await disk.close()
  await inner.close()
})

it('drivers as values, which no registry needs to know', async () => {
  const disk = await openNode(nothing, {
    driver: passThrough,
    readOnly: true,
    file: { driver: qcow2, file: await image() },
  })
  expect([disk.size, disk.file?.node.driver.name, disk.toJSON().driver]).toEqual([
    2 ** 20,
    'qcow2',
    'pass-through',
  ])
  await reopenNode(disk, { readOnly: false })
  expect(disk.readOnly).toBe(false)
  await disk.close()
  const over = await openNode(nothing, {
    driver: qcow2,
    file: await image(),
    backing: { driver: memory, size: 4096 },
  })
  expect(over.backing?.node.driver.name).toBe('memory')
  await over.close()
})

it('any tree, where the drivers have no types', async () => {
  const untyped: OpenEnvironment = environment
  const disk = await openNode(untyped, { driver: 'memory', 'read-only': true, size: '512' })
  expect(disk.readOnly).toBe(true)
  await disk.close()
})

it('what is misspelled does not compile, and is named as it was given', async () => {
  const env = environment
  const [file, blank] = [await image(), await openNode(env, { driver: 'memory' })]
  const wrong: readonly [run: () => Promise<unknown>, words: string][] = [
    // @ts-expect-error
    [() => openNode(env, { drivr: 'qcow2' }), 'Must specify either driver or file'],
    // @ts-expect-error
    [() => openNode(env, { driver: 'qcow3' }), "'qcow3'"],
    // @ts-expect-error
    [() => openNode(env, { driver: 'qcow2', file, lazyRefcount: true }), "'lazyRefcount'"],
    // @ts-expect-error
    [() => openNode(env, { driver: 'qcow2', file, lazyRefcounts: 'maybe' }), "'lazyRefcounts'"],
    // @ts-expect-error
    [() => openNode(env, { driver: 'qcow2', file, overlapCheck: { templaTe: '' } }), 'Check.templaTe'],
    // @ts-expect-error
    [() => openNode(env, { driver: 'memory', file }), "'file'"],
    // @ts-expect-error
    [() => openNode(env, { driver: 'pass-through', file: { driver: 'memory', sise: 1 } }), "'sise'"],
    // @ts-expect-error
    [() => openNode(nothing, { driver: qcow2, file, lazyRefcount: true }), "'lazyRefcount'"],
    // @ts-expect-error
    [() => openNode(nothing, { driver: passThrough, file: { driver: memory, sizeOf: 1 } }), "'sizeOf'"],
    // @ts-expect-error
    [() => formatImage(qcow2, blank, { size: '1M', clusterSise: 4096 }), "'clusterSise'"],
    // @ts-expect-error
    [() => formatImage(qcow2, blank, { size: '1M', preallocation: 'some' }), "'some'"],
    // @ts-expect-error
    [() => formatImage(qcow2, blank, { size: '1M', lazyRefcounts: 'maybe' }), "'lazyRefcounts'"],
  ]
  for (const [run, words] of wrong) expect(await refusal(run())).toContain(words)
  await file.close()
  await blank.close()
})

it('programs and JSON hear of options in their own spelling', async () => {
  const untyped: OpenEnvironment = environment
  const file = await image()
  expect(await refusal(openNode(untyped, { driver: 'qcow2', file, 'lazy-refcounts': 'maybe' }))).toContain(
    "'lazy-refcounts'",
  )
  expect(
    await refusal(openNode(untyped, { driver: 'qcow2', file, readOnly: true, 'read-onli': 1 })),
  ).toContain("'read-onli'")
  await file.close()
})
