/** A mistake on a command line. */

/** Ends a program with a message, prefixed with the program's name, and exit status 1. */
export class Mistake extends Error {
  override readonly name = 'Mistake'
}
