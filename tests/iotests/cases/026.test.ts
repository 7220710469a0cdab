import { writeFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

const PATHS = [
  'l1_update',
  'l2_load',
  'l2_update',
  'l2_alloc_write',
  'write_aio',
  'refblock_load',
  'refblock_update_part',
  'refblock_alloc',
  'cluster_alloc',
]
const TABLE_GROWTH = [
  'refblock_alloc_hookup',
  'refblock_alloc_write',
  'refblock_alloc_write_blocks',
  'refblock_alloc_write_table',
  'refblock_alloc_switch_table',
]
const L1_GROWTH = ['l1_grow_alloc_table', 'l1_grow_write_table', 'l1_grow_activate_table']

iotest(
  '026',
  'errors on every metadata path leave at most leaks',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto'],
    caches: ['writethrough', 'none'],
    unsupportedOptions: ['data_file', 'cluster_size', 'refcount_bits', 'extended_l2'],
    timeout: 60_000,
  },
  async (t) => {
    const rules = t.path('blkdebug.conf')
    /** Errors that did not occur: the event was not announced, or no request followed it. */
    const silent: string[] = []
    interface Failure {
      readonly event: string
      readonly errno: number
      readonly once: boolean
      readonly cluster: string
      readonly command: string
      /** Commands that run first, without the error. */
      readonly before?: readonly string[]
    }
    const fails = async ({ event, errno, once, cluster, command, before = [] }: Failure) =>
      t.section(`${event}, errno ${errno}, ${once ? 'once' : 'always'}, ${command}`, async () => {
        await writeFile(
          rules,
          `[inject-error]\nevent = "${event}"\nerrno = "${errno}"\nonce = "${once ? 'on' : 'off'}"\n`,
        )
        const image = await t.create({ size: '1G', options: { cluster_size: cluster } })
        if (before.length > 0) await image.io(before)
        const result = await image.tryIo([`open blkdebug:${rules}:${image.path}`, command], {
          noFile: true,
          format: null,
        })
        const text = errno === 28 ? 'No space left on device' : 'Input/output error'
        const failed = result.lines.some((line) => line === `write failed: ${text}`)
        if (!failed) silent.push(`${event}, errno ${errno}, ${once ? 'once' : 'always'}, ${command}`)
        t.equal(result.code, failed || result.lines.length > 0 ? 1 : 0, result.text)

        const verdict = await image.check()
        // with lazy refcounts a dirty image may also lack refcounts after an unclean end
        const dirty = (await image.header()).incompatible.includes(0)
        if (!dirty) t.equal([verdict.errors, verdict.checkErrors], [0, 0], verdict.text)
        t.equal((await image.check({ repair: 'all' })).code, 0)
        await image.io(['write -P 0x5e 0 128k', 'read -P 0x5e 0 128k'])
        t.equal((await image.check()).errors, 0)
      })
    for (const event of PATHS) {
      const before = event === 'l2_load' || event === 'l2_update' ? ['write 0 512'] : []
      for (const [errno, once] of [
        [5, true],
        [28, false],
      ] as const) {
        await fails({ event, errno, once, cluster: '1k', command: 'write 0 128k', before })
      }
      // VM state beyond the disk has no L2 table that could be loaded
      if (event === 'l2_load') continue
      await fails({ event, errno: 5, once: false, cluster: '1k', command: 'write -b 0 128k' })
    }
    for (const event of TABLE_GROWTH) {
      await fails({ event, errno: 28, once: event.length % 2 === 0, cluster: '512', command: 'write 0 9M' })
    }
    for (const event of L1_GROWTH) {
      await fails({ event, errno: 5, once: false, cluster: '1k', command: 'write -b 0 64k' })
    }
    t.equal(silent, [])

    await t.section('after one failed write the second leaves no leak', async () => {
      await writeFile(rules, '[inject-error]\nevent = "write_aio"\nerrno = "5"\nonce = "on"\n')
      const image = await t.create({ size: '64M' })
      const result = await image.tryIo([`open blkdebug:${rules}:${image.path}`, 'write 0 1M', 'write 0 1M'], {
        noFile: true,
        format: null,
      })
      t.equal([result.lines, result.reports.length], [['write failed: Input/output error'], 1])
      await image.isSound()
    })
    if (t.variant.options['compat'] === '0.10') return
    await t.section('a failed write does not free preallocated zero clusters', async () => {
      const image = await t.create({ size: '64k' })
      await image.io(['write 0 64k', 'write -z 0 64k'])
      const result = await image.tryIo([`open blkdebug:${rules}:${image.path}`, 'write 0 64k'], {
        noFile: true,
        format: null,
      })
      t.equal(result.lines, ['write failed: Input/output error'])
      await image.isSound()
      await image.io('read -P 0 0 64k')
    })
  },
)
