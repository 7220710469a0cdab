import { describe, expect, it } from 'vitest'
import { Failure, usageFailure } from './failure.ts'
import { Output } from './output.ts'

function failing(error: unknown) {
  const said: string[] = []
  const output = new Output('prog', { print() {}, error: (text) => void said.push(text), flush() {} })
  return { status: output.fail(error), said: said.join('') }
}

describe('a failure', () => {
  it('is printed line by line, each with the name of the program', () => {
    expect(failing(new Failure(['one', 'two'], { status: 3 }))).toEqual({
      status: 3,
      said: 'prog: one\nprog: two\n',
    })
    expect(failing(new Error('broken'))).toEqual({ status: 1, said: 'prog: broken\n' })
  })

  it('may say nothing', () => {
    expect(failing(new Failure([], { status: 130 }))).toEqual({ status: 130, said: '' })
  })

  it('may end with a hint, with its newline or without', () => {
    expect(failing(new Failure('no', { hint: 'try yes' })).said).toBe('prog: no\ntry yes\n')
    expect(failing(new Failure('no', { hint: 'try yes', closed: false })).said).toBe('prog: no\ntry yes')
  })

  it('of the command line points to the help of the program', () => {
    expect(failing(usageFailure('what?')).said).toBe("prog: what?\nTry 'prog --help' for more information\n")
  })
})
