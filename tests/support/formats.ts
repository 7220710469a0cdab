/**
 * Every format as it describes itself to the tests: those of the one list, each from its own `/testing` entry.
 * @module
 */

import type { FormatSuite, TestedFormat, TestedVariety } from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'

const describedBy = async (name: string): Promise<TestedFormat> =>
  ((await import(/* @vite-ignore */ `@vmblock/${name}/testing`)) as { readonly format: TestedFormat }).format

/** The formats, in the order of the list. */
export const testedFormats: readonly TestedFormat[] = await Promise.all(
  formats.map(({ name }) => describedBy(name)),
)

/** The format of a name. @throws Error if there is none */
export function testedFormat(name: string): TestedFormat {
  const found = testedFormats.find(({ driver }) => driver.name === name)
  if (!found) throw new Error(`no format is called ${name}`)
  return found
}

/** Every variety that a suite runs on, with its format. */
export const varietiesFor = (
  suite: FormatSuite,
): readonly { readonly format: TestedFormat; readonly variety: TestedVariety }[] =>
  testedFormats.flatMap((format) =>
    format.varieties.filter(({ suites }) => suites.includes(suite)).map((variety) => ({ format, variety })),
  )

const creationOptions = new Map(
  await Promise.all(
    testedFormats.map(
      async ({ driver }) => [driver.name, (await driver.creation?.())?.options ?? {}] as const,
    ),
  ),
)

/** Whether images of the format can be created with this option (in camelCase). */
export const takes = ({ driver }: TestedFormat, option: string): boolean =>
  option in creationOptions.get(driver.name)!
