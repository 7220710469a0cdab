import { iotest } from '../src/harness.ts'

iotest(
  '187',
  'reopen between read-only and read-write',
  { formats: ['generic'], groups: ['auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '64M' })
    const outcome = async (readOnly: boolean, ...commands: string[]) => {
      const result = await image.tryIo([...commands, 'write -P 0x77 0 64k'], { readOnly })
      if (result.code === 0) return result.reports.length === 1 ? 'written' : result.text
      return result.lines.join()
    }
    const refusal = 'qemu-io: Block node is read-only'
    t.equal(await outcome(true), refusal)
    t.equal(await outcome(true, 'reopen -w', 'reopen -r'), refusal)
    await image.io('read -P 0 0 64k')
    t.equal(await outcome(true, 'reopen -w'), 'written')
    t.equal(await outcome(false), 'written')
    t.equal(await outcome(false, 'reopen -r'), refusal)
    t.equal(await outcome(false, 'reopen -r', 'reopen -w'), 'written')
    await image.io('read -P 0x77 0 64k')
    await image.isSound()
  },
)
