/**
 * A real Linux in v86 in a real browser, in the page of examples/browser: it boots by the BIOS from a qcow2
 * image on a web server, and writes to an overlay in the origin private file system. The overlay survives the
 * page, however the page ends, and can be exported.
 */
import { createHash } from 'node:crypto'
import { createRandom } from '@vmblock/block-core/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { haveChromium } from '../support/chromium.ts'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import { haveMkfs, makeBootDisk, partitionOf } from './src/boot-disk.ts'
import { Browser, BrowserGuest } from './src/browser-guest.ts'
import { buildExample, ExampleSite } from './src/example-site.ts'
import { haveGuest } from './src/guest-files.ts'

/** Milliseconds: an emulated machine on a busy host. */
const PATIENCE = 600_000
const MIB = 2 ** 20
const LONG = process.env['VMBLOCK_LONG'] === '1'
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const DATA = createRandom(86).bytes(3_000_000)

const text = new TextEncoder().encode('of the base\n')

/** The incompatible features of the overlay in the page's storage: bit 0 is the dirty bit. */
const overlayFeatures = (browser: Browser, site: ExampleSite): Promise<number> =>
  browser.onBlankPage(site.url, async () => {
    const folder = await navigator.storage.getDirectory()
    const file = await (await folder.getFileHandle('mine.qcow2')).getFile()
    return new DataView(await file.slice(0, 80).arrayBuffer()).getUint32(76)
  })

describe.skipIf(!haveGuest || !haveQemu || !haveChromium() || !haveMkfs)('Linux in v86 in a browser', () => {
  let bench: Bench
  let site: ExampleSite
  let browser: Browser
  let guest: BrowserGuest
  let output: string
  beforeAll(async () => {
    bench = openBench()
    const example = buildExample()
    output = example.output
    site = await ExampleSite.open(example.folder, makeBootDisk(bench, { data: DATA, text }))
    browser = await Browser.open()
  }, PATIENCE)
  afterAll(async () => {
    await browser?.close()
    await site?.close()
    bench?.remove()
  }, PATIENCE)

  /** The hashes of the files that were written and synced. */
  const hashes = (): Promise<string> => guest.run('cd /mnt && sha256sum data text mine deep/er/list && cd /')

  test('the page needs no polyfill', () => {
    const foreign = output
      .split('\n')
      .filter((line) => line.includes('externalized') && !line.includes('/v86@'))
    expect(foreign).toEqual([])
  })

  test(
    'boots from a web server by few requests, and what it writes outlives the page',
    async () => {
      guest = await BrowserGuest.open(browser, site.url)
      await guest.booted()
      console.log(`counted ${site.requests} requests: booting, with an image of ${site.bytesSent} bytes sent`)
      await guest.saveState()
      await guest.run('dmesg -n 1; mount -t ext4 /dev/sda1 /mnt && cat /mnt/text')
      const read = await guest.run('sha256sum < /mnt/data')
      expect(read).toContain(sha256(DATA))
      console.log(`counted ${site.requests} requests: booting, mounting, reading ${DATA.length} bytes`)
      expect(site.requests).toBeLessThan(40)

      await guest.run('head -c 300000 /bin/busybox > /mnt/mine && mkdir -p /mnt/deep/er && rm /mnt/text')
      await guest.run('seq 1 5000 > /mnt/deep/er/list && echo again > /mnt/text && sync')
      const written = await hashes()
      await guest.reload()
      await guest.restoreState()
      await guest.run('dmesg -n 1; mount -t ext4 /dev/sda1 /mnt')
      expect(await hashes()).toBe(written)
    },
    PATIENCE,
  )

  test(
    'is killed in mid-write, and loses nothing that it had synced',
    async () => {
      const written = await hashes()
      for (let round = 0; round < (LONG ? 10 : 1); round++) {
        let synced = 0
        guest.onLine = (line) => {
          synced = Number(/^synced (\d+)/.exec(line)?.[1] ?? synced)
        }
        // Each file in clusters that the overlay does not have yet.
        const file = 'head -c 100000 /bin/busybox'
        await guest.send(`(i=1; while :; do ${file} > /mnt/file$i; sync; echo synced $i; i=$((i+1)); done) &`)
        await guest.line(new RegExp(`^synced ${3 + (round % 5)}`))
        await guest.written(1 + 20_000 * round)
        await guest.kill()
        expect(await overlayFeatures(browser, site)).toBe(1)

        guest = await BrowserGuest.open(browser, site.url)
        expect(await guest.said()).toContain('repaired')
        await guest.restoreState()
        await guest.run('dmesg -n 1; mount -t ext4 /dev/sda1 /mnt')
        expect(await hashes()).toBe(written)
        await guest.run(`(for i in $(seq 1 ${synced}); do ${file} | cmp - /mnt/file$i || exit 1; done)`)
        // The journal has been replayed: nothing is left to repair.
        await guest.run('umount /mnt && e2fsck -f -n /dev/sda1 > /dev/null')
        // The overlay frees their clusters too.
        await guest.run('mount -t ext4 /dev/sda1 /mnt && rm /mnt/file* && sync && fstrim /mnt')
      }
    },
    PATIENCE * (LONG ? 10 : 1),
  )

  test(
    'is taken out, as one disk and as an overlay',
    async () => {
      await guest.run('umount /mnt && echo 3 > /proc/sys/vm/drop_caches')
      const [seen] = (await guest.run('md5sum /dev/sda1')).split(' ')
      for (const format of ['qcow2', 'raw', 'as-is'])
        await guest.download(format, bench.path(`exported.${format}`))
      bench.run('qemu-img', 'check', '-f', 'qcow2', 'exported.qcow2')
      bench.run('qemu-img', 'check', '-f', 'qcow2', 'exported.as-is')
      bench.run(
        'qemu-img',
        'rebase',
        '-u',
        '-f',
        'qcow2',
        '-F',
        'qcow2',
        '-b',
        'base.qcow2',
        'exported.as-is',
      )
      bench.run('qemu-img', 'check', '-f', 'qcow2', 'exported.as-is')
      bench.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', 'exported.qcow2', 'exported.raw')
      bench.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', 'exported.as-is', 'exported.raw')
      expect(
        createHash('md5')
          .update(partitionOf(bench.read('exported.raw')))
          .digest('hex'),
      ).toBe(seen)
      // The guest continues.
      await guest.run('mount -t ext4 /dev/sda1 /mnt && echo on > /mnt/text && sync')
    },
    PATIENCE,
  )

  test(
    'needs bounded memory, however much is written',
    async () => {
      await guest.stop()
      const start = await guest.held()
      const total = LONG ? 4096 : 256
      const peak = { held: 0, pending: 0 }
      for (let done = 0; done < total; done += 8) {
        peak.pending = Math.max(peak.pending, await guest.writeOver(8 * MIB))
        peak.held = Math.max(peak.held, (await guest.held()) - start)
      }
      const mib = (bytes: number): string => `${Math.ceil(bytes / MIB)} MiB`
      console.log(
        `counted ${total} mebibytes written: in a browser; beyond the start at most ${mib(peak.held)} of heap and buffers, ` +
          `${mib(peak.pending)} on their way`,
      )
      // What the disk may hold by its options, and the tables and the cache of the nodes below.
      expect(peak.held).toBeLessThan(64 * MIB)
      // The write buffer, and a request.
      expect(peak.pending).toBeLessThan(9 * MIB)
    },
    PATIENCE,
  )
})
