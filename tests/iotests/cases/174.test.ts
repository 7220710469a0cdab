import { iotest } from '../src/harness.ts'

iotest(
  '174',
  "qemu-io's exit status",
  { formats: ['qcow2'], groups: ['auto', 'quick'], ownOptions: true },
  async (t) => {
    const raw = await t.create({ name: 'raw', size: '256k', format: 'raw' })
    const wrong = await raw.tryIo('read 0 256k', { format: 'qcow2' })
    t.equal(
      [wrong.code, t.tidy(wrong.text)],
      [1, "qemu-io: can't open device DIR/raw: Image is not in qcow2 format\n"],
    )
    const missing = await t.image('missing').tryIo('read 0 256k')
    t.equal(
      [missing.code, t.tidy(missing.text)],
      [
        1,
        "qemu-io: can't open device DIR/missing: Could not open 'DIR/missing': No such file or directory\n",
      ],
    )
    await t.section('one failed command fails the run, and the others still run', async () => {
      const image = await t.create({ size: '1M' })
      const result = await image.tryIo(['write -P 1 0 64k', 'read 2M 512', 'read -P 1 0 64k'])
      t.equal(result.code, 1)
      t.equal(result.reports.length, 2)
      t.equal((await image.tryIo(['read -P 2 0 64k'])).code, 1, 'a wrong pattern')
      t.equal((await image.tryIo(['nonsense'])).lines, ['command "nonsense" not found'])
      t.equal((await image.tryIo(['read 0 64k'])).code, 0)
    })
  },
)
