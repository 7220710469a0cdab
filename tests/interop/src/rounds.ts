/**
 * A round: an image made by one side passes back and forth several times.
 * @module
 */
import { describe, test } from 'vitest'
import { testedFormat } from '../../support/formats.ts'
import { haveQemu, openBench } from '../../support/real-qemu.ts'
import { digestOf, requireContent, requireSound } from './agreement.ts'
import { Model, type Operation, randomOperations } from './operations.ts'
import { LONG, withSeeds } from './settings.ts'
import { ourTurn, patternName, realTurn, requireEqual, type Turn } from './turns.ts'
import { type Maker, randomFor, type Variety } from './varieties.ts'

const TURNS = LONG ? 12 : 6
const OPERATIONS = LONG ? 100 : 40

/** Odd lengths, so that no pattern repeats with the clusters. */
const PATTERN_LENGTHS = [509, 4099, 65_537, 1_000_003]

/** Mostly the fast modes; occasionally one in which every write is durable. */
const CACHES = ['writeback', 'writeback', 'unsafe', 'unsafe', 'none', 'writethrough'] as const

/** Declares one test for each variety and maker. */
export function passBackAndForth(
  title: string,
  varieties: readonly Variety[],
  makers: readonly Maker[],
): void {
  describe.skipIf(!haveQemu)(title, () => {
    for (const variety of varieties) {
      for (const maker of makers) {
        const name = `${variety.name}, made by ${maker}`
        test(name, { timeout: LONG ? 1_800_000 : 60_000 }, () =>
          withSeeds(name, (seed) => playRound(variety, maker, seed)),
        )
      }
    }
  })
}

async function playRound(variety: Variety, maker: Maker, seed: number): Promise<void> {
  const random = randomFor(seed, maker)
  const bench = openBench()
  try {
    const files = PATTERN_LENGTHS.map((length) => random.bytes(length))
    for (const [index, bytes] of files.entries()) bench.write(patternName(index), bytes)
    const subject = await variety.make({ bench, maker, random })
    const model = new Model(subject.content, files, subject.discard)
    const { name, format, mirror, constant = [] } = subject
    const below = constant.map((file) => digestOf(bench, file))
    const oursFirst = random.chance(0.5)
    for (let index = 0; index < TURNS; index++) {
      const ours = oursFirst === (index % 2 === 0)
      const operations = randomOperations(
        random,
        OPERATIONS,
        model.bytes.length,
        files.length,
        subject.wishes,
      )
      const turn: Turn = { bench, name, format, cache: random.pick(CACHES), model, operations }
      await explain(
        `turn ${index + 1} (${ours ? 'ours' : "QEMU's"}, ${turn.cache})`,
        operations,
        async () => {
          if (ours) await ourTurn(turn)
          else realTurn(turn)
          if (testedFormat(format).checks !== 'no') await requireSound(bench, name, format)
          await requireContent(bench, name, format, model.bytes)
          if (mirror !== undefined) requireMirror(bench.read(mirror), model.bytes)
          for (const [layer, file] of constant.entries())
            if (digestOf(bench, file) !== below[layer]) throw new Error(`${file} has changed`)
        },
      )
    }
  } finally {
    bench.remove()
  }
}

/** Checks that a file mirrors the disk. It may be longer: writes with O_DIRECT end at block boundaries. */
function requireMirror(file: Uint8Array, disk: Uint8Array): void {
  const expected = new Uint8Array(Math.max(file.length, disk.length))
  expected.set(disk)
  requireEqual(file, expected)
}

/** Adds to an error when it occurred and after which requests. */
async function explain(
  when: string,
  operations: readonly Operation[],
  body: () => Promise<void>,
): Promise<void> {
  try {
    await body()
  } catch (error) {
    const list = operations.map((operation) => `  ${JSON.stringify(operation)}`).join('\n')
    if (error instanceof Error) error.message = `${when}: ${error.message}\n${list}`
    throw error
  }
}
