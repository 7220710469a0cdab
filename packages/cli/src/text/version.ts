/** The version of the programs, which are released together. */

/** The version, as in every package.json. */
export const VERSION = '0.2.0'

/** The text of `--version`. */
export const versionText = (program: string): string => `${program} version ${VERSION} (vmblock)\n`
