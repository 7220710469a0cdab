import { writeFileSync } from 'node:fs'
import { iotest } from '../src/harness.ts'

iotest(
  '099',
  'the names of disks below blkdebug and blkverify',
  { formats: ['qcow2', 'qed'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    const image = await t.create({ size: '128k' })
    const raw = await t.create({ name: 'compare', format: 'raw', size: '128k', plain: true })
    const rules = t.path('blkdebug.conf')
    writeFileSync(rules, '')
    const nameOf = async (...words: string[]): Promise<string | undefined> => {
      const { text } = await t.img(['info', ...words])
      return t.tidy(/^image: (.*)$/m.exec(text)?.[1] ?? text)
    }
    const byOptions = (options: string) => nameOf('--image-opts', options)
    const [file, compare] = [`DIR/t.${t.format}`, 'DIR/compare']
    const verify = `driver=raw,file.driver=blkverify,file.raw.filename=${raw.path}`
    const debug = `driver=${t.format},file.driver=blkdebug,file.image.filename=${image.path}`
    const ruled = `{"driver": "${t.format}", "file": {"image": {"driver": "file", "filename": "${file}"}, "driver": "blkdebug", "inject-error.0.event": "l1_update"}}`

    t.equal(await nameOf('-f', 'raw', `blkverify:${raw.path}:${image.path}`), `blkverify:${compare}:${file}`)
    t.equal(
      await byOptions(`${verify},file.test.file.filename=${image.path}`),
      `blkverify:${compare}:${file}`,
    )
    t.equal(await byOptions(`${debug},file.inject-error.0.event=l1_update`), `json:${ruled}`)
    const below = `file.test.file.driver=blkdebug,file.test.file.image.filename=${image.path}`
    t.equal(
      await byOptions(`${verify},${below},file.test.file.inject-error.0.event=l1_update`),
      `json:{"driver": "raw", "file": {"test": ${ruled}, "driver": "blkverify", "raw": {"driver": "file", "filename": "${compare}"}}}`,
    )
    t.equal(await byOptions(`${debug},file.config=${rules}`), `blkdebug:DIR/blkdebug.conf:${file}`)
    t.equal(await byOptions(debug), `blkdebug::${file}`)
  },
)
