/** Images of every format and variety, made by either side, pass back and forth between our library and QEMU's programs. */
import { testedFormats } from '../support/formats.ts'
import { passBackAndForth } from './src/rounds.ts'
import { emptyImage } from './src/varieties.ts'

for (const format of testedFormats.filter(({ inQemu }) => inQemu)) {
  const varieties = format.varieties.filter(({ suites }) => suites.includes('turns'))
  // Formats that are only read have none.
  if (varieties.length === 0) continue
  passBackAndForth(
    `${format.driver.name} images pass back and forth`,
    varieties.map((variety) => emptyImage(format, variety)),
    ['qemu-img', 'our create'],
  )
}
