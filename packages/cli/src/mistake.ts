/** A mistake on a command line. */

/** Ends a program with a message, before which the program puts its own name. Exit status 1. */
export class Mistake extends Error {
  override readonly name = 'Mistake'
}
