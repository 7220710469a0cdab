/** The same random operations, by our programs and by QEMU's, on images of every kind: they say and do the same. */
import { describe, test } from 'vitest'
import { withSeeds } from '../interop/src/settings.ts'
import { haveQemu } from '../support/real-qemu.ts'
import { KINDS, MORE_KINDS } from './src/kinds.ts'
import { runRound } from './src/round.ts'

const OPERATIONS = 12
/** Long runs make eight times as many: more than 500 rounds over all kinds. */
const ROUNDS = 1
const LONG_ROUNDS = 3
const isLong = process.env['VMBLOCK_LONG'] === '1'

describe.runIf(haveQemu)('both programs', () => {
  test.each((isLong ? [...KINDS, ...MORE_KINDS] : KINDS).map((kind) => [kind.name, kind] as const))(
    'do the same: %s',
    { timeout: 30 * 60_000 },
    (name, kind) =>
      withSeeds(name, (seed) => runRound(kind, seed, OPERATIONS), isLong ? LONG_ROUNDS : ROUNDS),
  )
})
