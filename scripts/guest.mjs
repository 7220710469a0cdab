// Makes the guest that the tests of @vmblock/v86 boot: kernel, busybox and e2fsck for i386, and the BIOS,
// from Debian's packages, converted to files that v86 accepts. Kept in .cache/guest; nothing is installed,
// and no architecture is added to the machine.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { filesBelow } from './stamps.mjs'
import { at, Failure, mustRun, readJson, run, say } from './toolchain.mjs'

const HOME = at('.cache', 'guest')
const MANIFEST = join(HOME, 'manifest.json')
/** Changes when the files are made in another way, so that older ones are made anew. */
const RECIPE = 1

/** The drivers of the guest; their dependencies are determined from the modules. */
const MODULES = ['crc32c_generic', 'ata_piix', 'sd_mod', 'ext4']

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** Makes the guest's files unless they exist and are intact. Never fails: tests report missing files. */
export async function provideGuest() {
  if (isReady()) return
  if ((await run('apt-get', ['--version'])).code !== 0 || (await run('dpkg-deb', ['--version'])).code !== 0) {
    say('the guest of the v86 tests needs apt and dpkg; these tests are skipped')
    return
  }
  say('preparing the guest of the v86 tests ...')
  try {
    rmSync(HOME, { recursive: true, force: true })
    await make()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    say(`the guest of the v86 tests could not be prepared; these tests are skipped\n${error.message}`)
  }
}

/** Whether all files exist, unchanged since they were made. */
function isReady() {
  try {
    const { recipe, files } = readJson(MANIFEST)
    return (
      recipe === RECIPE &&
      Object.entries(files).every(([name, hash]) => sha256(readFileSync(join(HOME, name))) === hash)
    )
  } catch {
    return false
  }
}

async function make() {
  const apt = privateApt()
  // Some lists may be unreachable although the needed ones are not: a missing package is reported when it is
  // requested.
  const update = await apt.run('apt-get', ['update', '-qq'])
  const kernel = await kernelPackage(apt, update.output)
  const packages = {}
  const roots = {}
  for (const name of [kernel, 'busybox-static', 'e2fsck-static', 'seabios']) {
    const { root, version } = await unpack(apt, name)
    roots[name === kernel ? 'kernel' : name] = root
    packages[name] = version
  }
  const only = (root, pattern) => {
    const found = filesBelow(root).filter((file) => pattern.test(file))
    if (found.length === 0) throw new Failure(`the packages hold no ${pattern}`)
    return readFileSync(found[0])
  }
  const files = {
    'vmlinuz.bin': only(roots.kernel, /\/boot\/vmlinuz-[^/]*$/),
    'initramfs.bin': initramfs(roots, only),
    'bios.bin': only(roots.seabios, /\/bios\.bin$/),
    'vgabios.bin': only(roots.seabios, /\/vgabios-stdvga\.bin$/),
  }
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(HOME, name), bytes)
  const hashes = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, sha256(bytes)]))
  writeFileSync(MANIFEST, JSON.stringify({ recipe: RECIPE, packages, files: hashes }, null, 2))
  rmSync(join(HOME, 'work'), { recursive: true, force: true })
}

/** An apt that uses the machine's sources, and keeps all its files here, as on an i386 machine. */
function privateApt() {
  const work = join(HOME, 'work')
  for (const folder of ['lists/partial', 'cache/archives/partial', 'packages'])
    mkdirSync(join(work, folder), { recursive: true })
  writeFileSync(join(work, 'status'), '')
  const config = join(work, 'apt.conf')
  const lines = [
    'APT::Architecture "i386";',
    'APT::Architectures { "i386"; };',
    'APT::Install-Recommends "false";',
    'APT::Sandbox::User "root";',
    `Dir::State::lists "${work}/lists";`,
    `Dir::State::status "${work}/status";`,
    `Dir::Cache "${work}/cache";`,
  ]
  writeFileSync(config, `${lines.join('\n')}\n`)
  const env = { ...process.env, APT_CONFIG: config, LC_ALL: 'C' }
  const cwd = join(work, 'packages')
  return {
    cwd,
    run: (program, args) => run(program, args, { env, cwd }),
    mustRun: (what, program, args) => mustRun(what, program, args, { env, cwd }),
  }
}

/** The kernel that the metapackage of the plain i386 flavor stands for. */
async function kernelPackage(apt, updates) {
  const { output } = await apt.run('apt-cache', ['depends', '--important', 'linux-image-686'])
  const name = /linux-image-\d\S*-686/.exec(output)?.[0]
  if (!name) throw new Failure(`no kernel for i386 among the packages:\n${updates}${output}`.trimEnd())
  return name
}

/** Downloads a package, verifies it against the index, and unpacks it. */
async function unpack(apt, name) {
  const record = await apt.mustRun(`looking up ${name}`, 'apt-cache', ['show', '--no-all-versions', name])
  const expected = /^SHA256: ([0-9a-f]{64})$/m.exec(record)?.[1]
  const version = /^Version: (\S+)$/m.exec(record)?.[1]
  await apt.mustRun(`downloading ${name}`, 'apt-get', ['download', '-qq', `${name}=${version}`])
  const file = filesBelow(apt.cwd).find((path) => basename(path).startsWith(`${name}_`))
  if (!file || sha256(readFileSync(file)) !== expected)
    throw new Failure(`${name} ${version} is not what the index says it is`)
  const root = join(HOME, 'work', 'roots', name)
  mkdirSync(root, { recursive: true })
  await apt.mustRun(`unpacking ${name}`, 'dpkg-deb', ['-x', file, root])
  return { root, version }
}

/** The guest's initramfs: busybox, e2fsck, drivers, and an init that runs the lines from the serial line. */
function initramfs(roots, only) {
  const modules = inOrder(roots.kernel)
  const entries = ['bin', 'dev', 'proc', 'sys', 'mnt', 'lib'].map((name) => ({ name, mode: 0o40755 }))
  entries.push(
    { name: 'init', mode: 0o100755, content: Buffer.from(init(modules.map(({ name }) => name))) },
    { name: 'bin/busybox', mode: 0o100755, content: only(roots['busybox-static'], /\/bin\/busybox$/) },
    { name: 'bin/e2fsck', mode: 0o100755, content: only(roots['e2fsck-static'], /\/e2fsck\.static$/) },
    // The kernel opens it before anything is mounted.
    { name: 'dev/console', mode: 0o20600, device: [5, 1] },
    ...modules.map(({ name, path }) => ({
      name: `lib/${name}.ko`,
      mode: 0o100644,
      content: readFileSync(path),
    })),
  )
  return gzipSync(archive(entries), { level: 9 })
}

/** An init that runs each line it receives, and then prints a line with its exit code. */
const init = (modules) => `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in ${modules.join(' ')}; do insmod /lib/$module.ko; done
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
stty -echo -onlcr
echo "@@ready"
while read -r line; do
  eval "$line"
  echo "@@$?"
done
poweroff -f
`

/** The modules with all their dependencies, each after its dependencies. */
function inOrder(root) {
  const paths = new Map()
  const plain = (name) => name.replaceAll('-', '_')
  for (const path of filesBelow(root)) if (path.endsWith('.ko')) paths.set(plain(basename(path, '.ko')), path)
  const ordered = new Map()
  const visit = (name) => {
    if (ordered.has(name)) return
    const path = paths.get(name)
    // Dependencies without a module are built into the kernel.
    if (!path) return
    const needs = /\0depends=([^\0]*)\0/.exec(readFileSync(path, 'latin1'))?.[1] ?? ''
    for (const needed of needs.split(',')) if (needed) visit(plain(needed))
    ordered.set(name, path)
  }
  for (const name of MODULES) visit(name)
  return [...ordered].map(([name, path]) => ({ name, path }))
}

/** A cpio archive in the format of the kernel ("newc": hexadecimal numbers). */
function archive(entries) {
  const parts = []
  const pad = (length) => parts.push(Buffer.alloc((4 - (length % 4)) % 4))
  const add = ({ name, mode, content = Buffer.alloc(0), device = [0, 0] }, inode) => {
    const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, ...device, name.length + 1, 0]
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`
    parts.push(Buffer.from(header))
    pad(header.length)
    parts.push(content)
    pad(content.length)
  }
  entries.forEach((entry, index) => {
    add(entry, index + 1)
  })
  add({ name: 'TRAILER!!!', mode: 0 }, 0)
  return Buffer.concat(parts)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await provideGuest()
  process.exitCode = existsSync(MANIFEST) ? 0 : 1
}
