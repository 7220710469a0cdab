/** Events: order, ends, listeners that end others, and one function that is given twice. */
import { describe, expect, it } from 'vitest'
import { Emitter } from './emitter.ts'

interface Events {
  sum: [a: number, b: number]
  close: []
}

describe('an emitter', () => {
  it('calls listeners in order, with all facts', () => {
    const emitter = new Emitter<Events>()
    const heard: string[] = []
    emitter.on('sum', (a, b) => void heard.push(`first ${a + b}`))
    emitter.on('sum', (a, b) => void heard.push(`second ${a + b}`))
    emitter.on('close', () => void heard.push('closed'))
    emitter.emit('sum', 1, 2)
    expect(heard).toEqual(['first 3', 'second 3'])
  })

  it('ends each listening by itself, though one function was given twice', () => {
    const emitter = new Emitter<Events>()
    let calls = 0
    const listener = (): void => void calls++
    const end = emitter.on('close', listener)
    emitter.on('close', listener)
    end()
    end()
    emitter.emit('close')
    expect(calls).toBe(1)
  })

  it('calls a listener of `once` once, even if that emits again, and can be told not to', () => {
    const emitter = new Emitter<Events>()
    const heard: string[] = []
    emitter.once('close', () => {
      heard.push('closed')
      emitter.emit('close')
    })
    emitter.once('close', () => void heard.push('never'))()
    expect(emitter.hears('close')).toBe(true)
    emitter.emit('close')
    expect(heard).toEqual(['closed'])
    expect(emitter.hears('close')).toBe(false)
  })

  it('calls all listeners of the moment, though one of them ends another or adds one', () => {
    const emitter = new Emitter<Events>()
    const heard: string[] = []
    let end = (): void => undefined
    emitter.on('close', () => {
      heard.push('first')
      end()
      emitter.on('close', () => void heard.push('late'))
    })
    end = emitter.on('close', () => void heard.push('second'))
    emitter.emit('close')
    expect(heard).toEqual(['first', 'second'])
  })

  it('refuses a listener that is no function', () => {
    const emitter = new Emitter<Events>()
    expect(() => emitter.on('close', 'listener' as never)).toThrow("Parameter 'listener' expects a function")
    expect(() => emitter.once('close', undefined as never)).toThrow("Parameter 'listener'")
  })
})
