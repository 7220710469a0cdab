/** Damaged images of formats that are only read do no harm: those that the packages of the formats offer. */
import { createRandom, type Random, type TestedSample } from '@vmblock/block-core/testing'
import { afterAll, expect, test } from 'vitest'
import { testedFormats } from '../support/formats.ts'
import { exercise } from './src/exercise.ts'
import { diskOf } from './src/fuzz.ts'
import { installMeter } from './src/meter.ts'
import { type Hostile, WORDS } from './src/mutate.ts'
import { startWatchdog } from './src/watchdog.ts'

/** HOSTILE_RUNS: number of rounds for each format; HOSTILE_SEED: number of the first round. */
const RUNS = Number(process.env['HOSTILE_RUNS'] ?? 60)
const FIRST = Number(process.env['HOSTILE_SEED'] ?? 1)

const meter = installMeter()
const watchdog = startWatchdog()
afterAll(() => {
  watchdog.stop()
  meter.remove()
})

/** Bytes at either end where headers and trailers are. */
const HEAD = 512
const TAIL = 4096

/** Where to damage an image: mostly where it describes itself. */
function placeIn(bytes: Uint8Array, random: Random): number {
  const kind = random.int(0, 5)
  if (kind < 2) return random.int(0, Math.min(HEAD, bytes.length))
  if (kind < 4) return random.int(Math.max(bytes.length - TAIL, 0), bytes.length)
  return random.int(0, bytes.length)
}

/** Makes one hostile image: numbers of any width and byte order that careless code does not expect. */
function damage({ bytes: sound }: TestedSample, random: Random): Hostile {
  let bytes = sound.slice()
  const story: string[] = []
  for (let count = random.pick([1, 1, 1, 2, 3, 6]); count > 0; count--) {
    const width = random.pick([1, 2, 4, 8])
    const at = Math.min(Math.floor(placeIn(bytes, random) / width) * width, bytes.length - width)
    const word = random.chance(0.6)
      ? random.pick(WORDS)
      : BigInt(random.int(0, 2 ** 32)) * 2n ** 32n + BigInt(random.int(0, 2 ** 32))
    const little = random.chance(0.5)
    for (let i = 0; i < width; i++) {
      const shift = BigInt(8 * (little ? i : width - 1 - i))
      bytes[at + i] = Number((word >> shift) & 0xffn)
    }
    story.push(`${width} bytes at ${at} = 0x${word.toString(16)}${little ? ', little endian' : ''}`)
  }
  if (random.chance(0.05)) {
    bytes = bytes.subarray(0, random.int(0, bytes.length))
    story.push(`cut off at ${bytes.length}`)
  }
  const fileSize = random.chance(0.1) ? random.pick([2 ** 33, 2 ** 47, 2 ** 53 - 1]) : bytes.length
  if (fileSize !== bytes.length) story.push(`file of ${fileSize} bytes`)
  return { bytes, fileSize, story }
}

const sampled = testedFormats.filter((format) => format.samples !== undefined)

test.skipIf(sampled.length === 0)('sound samples are read', async () => {
  for (const { driver, samples } of sampled)
    for (const { name, bytes } of samples!()) {
      const sound = { bytes, fileSize: bytes.length }
      expect(await exercise(driver.name, () => diskOf(sound), meter, 'read-only'), name).toEqual([])
    }
})

test.skipIf(sampled.length === 0)(
  `${RUNS} hostile images of each format from number ${FIRST} on do no harm`,
  {
    timeout: 0,
  },
  async () => {
    const findings: string[] = []
    let images = 0
    for (const { driver, samples } of sampled) {
      const sound = samples!()
      for (let round = FIRST; round < FIRST + RUNS && findings.length < 40; round++) {
        watchdog.enter(++images, driver.name)
        const random = createRandom(round)
        const sample = random.pick(sound)
        const hostile = damage(sample, random)
        const named = random.chance(0.1) ? undefined : driver.name
        for (const { step, what, error } of await exercise(named, () => diskOf(hostile), meter, 'read-only'))
          findings.push(
            `${driver.name}, round ${round}, ${sample.name}, ${step}: ${what}\n  ${hostile.story.join('\n  ')}\n${error instanceof Error ? error.stack : ''}`,
          )
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    console.log(`counted ${images} images: samples`)
    expect(findings.join('\n\n')).toBe('')
  },
)
