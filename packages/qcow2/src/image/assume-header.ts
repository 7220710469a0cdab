/** Steps that need a header field of which the disk does not know yet. */
import type { Header } from '../format/header.ts'
import type { HeaderWriter } from './header-writer.ts'

/** Runs a step with a field that is changed in memory alone; takes the change back if the step fails. */
export async function assumingField<K extends keyof Header, T>(
  writer: HeaderWriter,
  name: K,
  value: Header[K],
  step: () => Promise<T>,
): Promise<T> {
  const before = writer.header[name]
  writer.assume({ [name]: value })
  try {
    return await step()
  } catch (error) {
    writer.assume({ [name]: before })
    throw error
  }
}
