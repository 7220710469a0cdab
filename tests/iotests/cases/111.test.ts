import { access } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '111',
  'an overlay of a file that is not there',
  { formats: ['qcow2'], groups: ['rw', 'backing', 'auto', 'quick'] },
  async (t) => {
    const absent = t.path('absent.qcow2')
    const { run, image } = await t.tryCreate({ backing: absent, backingFormat: 'qcow2' })
    t.equal(run.code, 1)
    t.equal(
      t.tidy(run.text),
      "qemu-img: DIR/t.qcow2: Could not open 'DIR/absent.qcow2': No such file or directory\nCould not open backing image.\n",
    )
    t.equal(
      await access(image.path).then(
        () => true,
        () => false,
      ),
      false,
      'nothing was created',
    )
    const forced = await t.img(['create', '-u', '-f', 'qcow2', '-b', absent, '-F', 'qcow2', image.path, '1M'])
    t.equal(forced.code, 0)
    t.equal(await image.size(), 1024 * 1024)
  },
)
