/** Pieces of pictures: elements as text, and colors that are legible on light and dark pages. */

/** Attributes of an element; numbers are rounded to visible precision. */
export type Attributes = Readonly<Record<string, string | number | undefined>>

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => ENTITIES[character]!)

const valueText = (value: string | number): string =>
  typeof value === 'number' ? String(Math.round(value * 10) / 10) : escaped(value)

/** An element. `content` is markup. */
export function element(name: string, attributes: Attributes, content?: string): string {
  const words = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${valueText(value!)}"`)
  return content === undefined
    ? `<${name}${words.join('')}/>`
    : `<${name}${words.join('')}>${content}</${name}>`
}

/** A line of text. */
export const label = (x: number, y: number, text: string, attributes: Attributes = {}): string =>
  element('text', { x, y, ...attributes }, escaped(text))

interface Theme {
  readonly ink: string
  readonly faint: string
  readonly grid: string
  readonly page: string
  /** Colors of curves, and of levels. */
  readonly series: readonly string[]
  readonly aim: string
  readonly must: string
  readonly missed: string
  readonly none: string
}

const LIGHT: Theme = {
  ink: '#1f2328',
  faint: '#59636e',
  grid: '#d1d9e0',
  page: '#ffffff',
  series: ['#0969da', '#8250df', '#bc4c00', '#1a7f37'],
  aim: '#1a7f37',
  must: '#0969da',
  missed: '#bc4c00',
  none: '#818b98',
}
const DARK: Theme = {
  ink: '#f0f6fc',
  faint: '#9198a1',
  grid: '#3d444d',
  page: '#0d1117',
  series: ['#4493f8', '#ab7df8', '#db6d28', '#3fb950'],
  aim: '#3fb950',
  must: '#4493f8',
  missed: '#db6d28',
  none: '#656c76',
}

/** Written out for both themes, since not every SVG renderer supports variables. */
const colours = (theme: Theme): string => `
.page { fill: ${theme.page} } text { fill: ${theme.ink} } .faint { fill: ${theme.faint} }
.grid { stroke: ${theme.grid} } .axis { stroke: ${theme.faint} }
.aim { fill: ${theme.aim} } .must { fill: ${theme.must} } .missed { fill: ${theme.missed} } .none { fill: ${theme.none} }
.mark, .whisker { stroke: ${theme.ink} } .dot { fill: ${theme.page}; stroke: ${theme.ink} }
${theme.series.map((colour, index) => `.s${index} { stroke: ${colour} } .f${index} { fill: ${colour} }`).join(' ')}
`

const STYLE = `
text { font: 12px system-ui, sans-serif } .title { font-size: 15px; font-weight: 600 } .small { font-size: 10.5px }
.mark { stroke-width: 1.5; fill: none } .whisker { opacity: .6 } .dot { stroke-width: 1.2 }
.line { fill: none; stroke-width: 2 } .theirs { stroke-dasharray: 5 4 }
${colours(LIGHT)}
@media (prefers-color-scheme: dark) {${colours(DARK)}}
`

/** A whole picture. `title` is read aloud by screen readers. */
export function picture(width: number, height: number, title: string, content: readonly string[]): string {
  const size = { width, height, viewBox: `0 0 ${width} ${height}` }
  const parts = [
    element('title', {}, escaped(title)),
    element('style', {}, STYLE.trim()),
    element('rect', { class: 'page', width, height, rx: 6 }),
    ...content,
  ]
  return `${element('svg', { xmlns: 'http://www.w3.org/2000/svg', role: 'img', ...size }, `\n${parts.join('\n')}\n`)}\n`
}
