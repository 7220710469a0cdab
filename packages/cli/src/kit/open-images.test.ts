import { DriverRegistry, denyHost, nullCo, openNode } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { OpenImages } from './open-images.ts'
import { Output } from './output.ts'

const environment = { registry: new DriverRegistry([nullCo]), host: denyHost }

/** Images, what is printed, and what happens at the end, in order. */
function watched() {
  const events: string[] = []
  const output = new Output('prog', { print() {}, error: (text) => void events.push(text), flush() {} })
  const images = new OpenImages(output)
  return {
    events,
    images,
    async open(name: string, failure?: string) {
      const node = await openNode(environment, { driver: 'null-co', size: 512 })
      const close = node.close.bind(node)
      node.close = async () => {
        events.push(`close ${name}`)
        await close()
        if (failure !== undefined) throw new Error(failure)
      }
      images.keep(node)
    },
  }
}

describe('the images of a command', () => {
  it('are closed once, the last one first', async () => {
    const { events, images, open } = watched()
    for (const name of ['a', 'b', 'c']) await open(name)
    expect(await images.close(0)).toBe(0)
    expect(await images.close(0)).toBe(0)
    expect(events).toEqual(['close c', 'close b', 'close a'])
  })

  it('are all closed when one fails, which is said once and changes the status', async () => {
    const { events, images, open } = watched()
    await open('a', 'first')
    await open('b', 'second')
    await open('c')
    expect(await images.close(0)).toBe(1)
    expect(events).toEqual([
      'close c',
      'close b',
      expect.stringMatching(/^prog: Could not close '.*': second\n$/),
      'close a',
    ])
  })

  it('are closed silently after a failure, whose status stays', async () => {
    const { events, images, open } = watched()
    await open('a', 'late')
    expect(await images.close(3)).toBe(3)
    expect(events).toEqual(['close a'])
  })

  it('are taken back after a failure, between what was opened before and after', async () => {
    const { events, images, open } = watched()
    await open('source')
    images.ifFailed(async (status) => void events.push(`undo ${status}`))
    await open('target', 'full')
    expect(await images.close(0)).toBe(1)
    expect(events.filter((event) => !event.startsWith('prog'))).toEqual([
      'close target',
      'undo 1',
      'close source',
    ])
  })

  it('stay when nothing failed', async () => {
    const { events, images } = watched()
    images.ifFailed(async () => void events.push('undo'))
    expect(await images.close(0)).toBe(0)
    expect(events).toEqual([])
  })
})
