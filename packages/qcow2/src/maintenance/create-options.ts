/**
 * Options of `create`, with the spelling, order and help texts of `qemu-img create -f qcow2`. Values that are
 * words are checked in create-settings.ts, because QEMU's tools accept any word here and refuse it later.
 */
import {
  bool,
  integer,
  isBlockError,
  type OptionType,
  type OptionValues,
  size,
  text,
} from '@vmblock/block-core/driver'

/** Default size of a cluster in bytes: 64 KiB. */
export const DEFAULT_CLUSTER_SIZE = 65536

const bits = integer('Width of a reference count entry in bits')

/**
 * A width too large for any number is refused like others that are too large; `-1` is one, since numbers wrap
 * around in QEMU.
 */
const width: OptionType<number> = {
  ...bits,
  parse(value, key) {
    try {
      return bits.parse(value, key)
    } catch (error) {
      if (isBlockError(error, 'EFBIG')) return Number.MAX_SAFE_INTEGER
      throw error
    }
  },
}

/** An option whose values are words: TypeScript users get them completed. */
const words = <W extends string>(option: OptionType<string>): OptionType<string, W> =>
  option as OptionType<string, W>

/** The table for `Creation.options`. */
// biome-ignore format: a table
export const createOptions = {
  encryption:       bool("Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
  'encrypt.format':         text("Encrypt the image, format choices: 'aes', 'luks'"),
  'encrypt.key-secret':     text('ID of secret providing qcow AES key or LUKS passphrase'),
  'encrypt.cipher-alg':     text('Name of encryption cipher algorithm'),
  'encrypt.cipher-mode':    text('Name of encryption cipher mode'),
  'encrypt.ivgen-alg':      text('Name of IV generator algorithm'),
  'encrypt.ivgen-hash-alg': text('Name of IV generator hash algorithm'),
  'encrypt.hash-alg':       text('Name of encryption hash algorithm'),
  'encrypt.iter-time':      integer('Time to spend in PBKDF in milliseconds'),
  cluster_size:     size('qcow2 cluster size', DEFAULT_CLUSTER_SIZE),
  extended_l2:      bool('Extended L2 tables', false),
  preallocation:    words<'off' | 'metadata' | 'falloc' | 'full'>(text('Preallocation mode (allowed values: off, metadata, falloc, full)')),
  compression_type: { ...words<'zlib' | 'zstd'>(text('Compression method used for image cluster compression')), default: 'zlib' },
  size:             size('Virtual disk size'),
  compat:           words<'0.10' | '1.1' | 'v2' | 'v3'>(text('Compatibility level (v2 [0.10] or v3 [1.1])')),
  backing_file:     text('File name of a base image'),
  backing_fmt:      text('Image format of the base image'),
  data_file:        text('File name of an external data file'),
  data_file_raw:    bool('The external data file must stay valid as a raw image'),
  keep_data_file:   { ...bool('The external data file is there already, and keeps its content'), isUnlisted: true },
  lazy_refcounts:   bool('Postpone refcount updates', false),
  refcount_bits:    { ...width, default: 16 },
}

/** The type of {@link createOptions}. */
export type CreateOptions = typeof createOptions
/** Parsed values of {@link createOptions}. Sizes are bytes. */
export type CreateOptionValues = OptionValues<CreateOptions>
