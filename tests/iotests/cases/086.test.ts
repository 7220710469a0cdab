import { iotest } from '../src/harness.ts'

iotest(
  '086',
  'progress of a conversion',
  { formats: ['qcow2', 'raw'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const source = await t.create({ name: 'source', size: '128M' })
    await source.io(['write 0 1M', 'write 2M 1M', 'write 4M 1M', 'write 32M 1M'])
    const target = t.image('target')
    const run = await t.img(['convert', '-p', '-f', t.format, '-O', t.format, source.path, target.path])
    t.equal(run.code, 0)
    const steps = [...run.text.matchAll(/ {4}\((\d+\.\d\d)\/100%\)\r/g)].map(([, percent]) => Number(percent))
    t.equal(run.text.endsWith('\r\n'), true)
    t.equal([steps[0], steps.at(-1)], [0, 100])
    // It counts what is copied, not holes; and never goes back.
    t.equal(
      steps,
      steps.toSorted((a, b) => a - b),
    )
    t.equal(steps.length > 3, true, 'there are steps between')
    t.equal((await t.img(['convert', '-p', '-q', '-O', 'raw', source.path, t.path('quiet')])).text, '')
  },
)
