/** The version of the programs, which are released together. */

/** As in every package.json. */
export const VERSION = '0.1.0'

/** What `--version` prints. */
export const versionText = (program: string): string => `${program} version ${VERSION} (vmblock)\n`
