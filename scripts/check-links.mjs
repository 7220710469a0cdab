// Checks that links between the Markdown pages of the repository lead somewhere: files, folders, and headings as GitHub
// names them. Links to the web are not followed.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import GithubSlugger from 'github-slugger'
import MarkdownIt from 'markdown-it'
import { filesBelow } from './stamps.mjs'
import { at, root } from './toolchain.mjs'

const markdown = new MarkdownIt({ html: true })

/** All tokens of a page, those inside of paragraphs included. */
const tokensOf = (text) => markdown.parse(text, {}).flatMap((token) => [token, ...(token.children ?? [])])

/** The names that a page can be entered by: its headings', and `id` or `name` of what is HTML in it. */
function anchorsOf(text) {
  const slugger = new GithubSlugger()
  const tokens = tokensOf(text)
  const headings = tokens.filter((_, index) => tokens[index - 1]?.type === 'heading_open')
  const title = ({ children }) =>
    children.map(({ type, content }) => (type === 'text' || type === 'code_inline' ? content : '')).join('')
  const marks = tokens
    .filter(({ type }) => type.startsWith('html_'))
    .flatMap(({ content }) => [...content.matchAll(/\s(?:id|name)="([^"]+)"/g)].map(([, name]) => name))
  return new Set([...headings.map((token) => slugger.slug(title(token))), ...marks])
}

/** What a page links to: links, images, and the same as HTML. */
const targetsOf = (text) =>
  tokensOf(text).flatMap((token) =>
    token.type.startsWith('html_')
      ? [...token.content.matchAll(/\s(?:href|src|srcset)="([^"\s]+)"/g)].map(([, target]) => target)
      : [token.attrGet('href') ?? token.attrGet('src')].filter((target) => target !== null),
  )

/** The links of one page that lead nowhere, one line each. */
export function deadLinks(path, text) {
  return targetsOf(text).flatMap((target) => {
    if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(target)) return []
    const [name, anchor] = target.split('#').map(decodeURIComponent)
    const file = name === '' ? path : join(dirname(path), name)
    const dead = (why) => [`${relative(root, path)}: '${target}' ${why}`]
    if (file !== path && !existsSync(file)) return dead('leads to no file')
    if (anchor === undefined || !file.endsWith('.md')) return []
    return anchorsOf(file === path ? text : readFileSync(file, 'utf8')).has(anchor)
      ? []
      : dead('leads to no heading')
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folders = ['bench', 'docs', 'examples', 'packages', 'tests'].flatMap((folder) =>
    filesBelow(at(folder)),
  )
  const pages = [...readdirSync(root).map((name) => at(name)), ...folders].filter(
    (file) => file.endsWith('.md') && !/[\\/](node_modules|dist)[\\/]/.test(file),
  )
  const lines = pages.flatMap((page) => deadLinks(page, readFileSync(page, 'utf8')))
  for (const line of lines) console.log(line)
  if (lines.length > 0) process.exitCode = 1
}
