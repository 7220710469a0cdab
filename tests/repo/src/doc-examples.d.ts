/** What the plugin tests/support/doc-examples.ts makes of the pages. */
interface RunnableExample {
  readonly page: string
  /** The line of its first line of code. */
  readonly line: number
  readonly codes: readonly string[]
  readonly output: readonly (string | null)[]
  fixture(): Promise<{ prepare?(): unknown }>
  run(): Promise<unknown>
}
declare module 'virtual:doc-examples/node' {
  export const examples: readonly RunnableExample[]
}
declare module 'virtual:doc-examples/page' {
  export const examples: readonly RunnableExample[]
}
