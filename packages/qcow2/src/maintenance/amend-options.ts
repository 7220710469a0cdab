/** Options of `amend`, with the spelling, order and help texts of `qemu-img amend -f qcow2 -o help`. */
import { bool, integer, text } from '@vmblock/block-core/driver'
import { createOptions } from './create-options.ts'

const { size, compat, backing_file, backing_fmt, data_file, data_file_raw } = createOptions

/** The table for `DriverFacts.amendOptions`. Options that cannot be changed are parsed, and then refused. */
// biome-ignore format: a table
export const amendOptions = {
  'encrypt.state':      text('Select new state of affected keyslots (active/inactive)'),
  'encrypt.keyslot':    integer('Select a single keyslot to modify explicitly'),
  'encrypt.old-secret': text('Select all keyslots that match this password'),
  'encrypt.new-secret': text('New secret to set in the matching keyslots. Empty string to erase'),
  'encrypt.iter-time':  integer('Time to spend in PBKDF in milliseconds'),
  size,
  compat,
  backing_file,
  backing_fmt,
  data_file,
  data_file_raw,
  lazy_refcounts:       bool('Postpone refcount updates'),
  refcount_bits:        integer('Width of a reference count entry in bits'),
}
