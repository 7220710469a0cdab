import { iotest } from '../src/harness.ts'

iotest(
  '089',
  'json: names and nested drivers',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['refcount_bits', 'data_file', 'cluster_size=512'],
  },
  async (t) => {
    const json = (options: object): string => `json:${JSON.stringify(options)}`

    await t.section('a format inside a format', async () => {
      const inner = await t.create({ name: 'inner.qcow2', size: '16M' })
      await inner.io(['write -P 42 0 512', 'write -P 23 512 512', 'write -P 66 1024 512'])
      const bytes = await inner.fileSize()
      // the inner file's bytes become the outer image's contents
      const outer = await t.create({ name: 'outer.qcow2', size: Math.ceil(bytes / 512) * 512 })
      const copy: string[] = []
      for (let at = 0; at < bytes; at += 512) {
        const piece = await inner.peek(at, 512)
        if (piece.every((byte) => byte === 0)) continue
        const first = piece[0] ?? 0
        const uniform = piece.every((byte) => byte === first)
        if (uniform) copy.push(`write -P ${first} ${at} 512`)
        else piece.forEach((byte, i) => void (byte !== 0 && copy.push(`write -q -P ${byte} ${at + i} 1`)))
      }
      await outer.io(copy)
      const nested = json({ driver: 'qcow2', file: { driver: 'qcow2', file: { filename: outer.path } } })
      await outer.io([`open ${nested}`, 'read -P 42 0 512', 'read -P 23 512 512', 'read -P 66 1024 512'], {
        noFile: true,
      })
      t.equal((await outer.tryIo('read -P 42 0 512')).mismatches.length, 1)
    })

    await t.section('a backing file of null', async () => {
      const base = await t.create({ name: 'base.qcow2', size: '64M' })
      await base.io('write -P 42 0 512')
      const image = await t.create({ name: 'overlay.qcow2', size: '64M', backing: base })
      await image.io('read -P 42 0 512')
      const alone = json({ driver: 'qcow2', file: { driver: 'file', filename: image.path }, backing: null })
      await image.io([`open ${alone}`, 'read -P 0 0 512'], { noFile: true })
    })

    await t.section('an injected error by json', async () => {
      const image = await t.create({ name: 'fault.qcow2', size: '64M' })
      await image.io('write -P 42 0x38000 512')
      const faulty = json({
        driver: 'qcow2',
        file: { driver: 'blkdebug', 'inject-error': [{ event: 'l2_load' }], 'image.filename': image.path },
      })
      const result = await image.tryIo([`open ${faulty}`, 'read -P 42 0x38000 512'], { noFile: true })
      t.equal(result.lines, ['read failed: Input/output error'])
      t.equal(result.code, 1)
    })

    await t.section('options beside a json: name, the option wins over the name', async () => {
      const image = await t.create({ name: 'merge.qcow2', size: '64M' })
      for (const options of [
        { 'file.filename': image.path },
        { driver: 'raw', 'file.filename': image.path },
      ]) {
        const result = await image.io([`open -o driver=qcow2 ${json(options)}`, 'info'], { noFile: true })
        t.equal(result.lines[0], 'format name: qcow2')
      }
      const run = await t.img([
        'info',
        '--output=json',
        json({ driver: 'qcow2', 'file.filename': image.path }),
      ])
      t.equal(JSON.parse(run.text).filename, image.path)
    })
  },
)
