/** Makes and opens the images of a workload, on disks that a power cut may hit. */
import type { DebugEvent } from '../contract/debug-events.ts'
import { denyHost, type ImageResolver } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { type WriteLog, writeLog } from '../drivers/write-log.ts'
import { formatImage } from '../open/format-image.ts'
import { openNode } from '../open/open.ts'
import type { RawOptions } from '../text/options.ts'
import { CrashDisk } from './crash-disk.ts'
import type { CrashDisks } from './crash-states.ts'
import type { CrashImage, CrashWorkload } from './crash-workload.ts'

/** Records the writes of a run, and the steps that its drivers announce. */
export interface Recorder {
  readonly log: WriteLog
  readonly steps: Set<DebugEvent>
}

const dataDisk = (image: string): string => `${image}-data`

/** The images of one workload. The bytes of a secret are its id. */
export class CrashImages {
  readonly #workload: CrashWorkload
  readonly #environment: OpenEnvironment
  #opened = 0

  constructor(workload: CrashWorkload) {
    this.#workload = workload
    const drivers = Object.values(workload.images).flatMap(({ driver, filter }) =>
      [driver, filter ?? []].flat(),
    )
    this.#environment = {
      registry: new DriverRegistry([...new Set([writeLog, ...drivers])]),
      host: denyHost,
      secret: async (id) => new TextEncoder().encode(id),
    }
  }

  /** The names of the images, from the bottom up. */
  get names(): string[] {
    return Object.keys(this.#workload.images)
  }
  /** The image that the guest uses. */
  get top(): string {
    return this.names.at(-1)!
  }

  /** The name of the image that a node was opened from. */
  nameOf({ name }: BlockNode): string {
    return name.replace(/\.\d+$/, '')
  }

  /** Makes new images, each on its own disk. */
  async create(): Promise<Map<string, CrashDisk>> {
    const disks = new Map<string, CrashDisk>()
    for (const [name, { driver, create, hasDataFile }] of Object.entries(this.#workload.images)) {
      const disk = new CrashDisk()
      disks.set(name, disk)
      const data = hasDataFile ? new CrashDisk() : undefined
      if (data) disks.set(dataDisk(name), data)
      const { secret } = this.#environment
      await formatImage(driver, disk.node(), create, data?.node(), { secret })
    }
    return disks
  }

  /** The disks of an image and of those below it. */
  disksOf(image: string): string[] {
    const { backing, mayName = backing === undefined ? [] : [backing], hasDataFile } = this.#image(image)
    const below = mayName.flatMap((each) => this.disksOf(each))
    return [image, ...(hasDataFile ? [dataDisk(image)] : []), ...new Set(below)]
  }

  /** The disk with the raw data of the image (`data_file_raw`), if there is one. */
  rawDataOf(image: string, disks: CrashDisks): CrashDisk | undefined {
    return this.#image(image).isDataFileRaw ? disks.get(dataDisk(image)) : undefined
  }

  /** Opens an image and those below it; with a recorder, with the options of the workload. */
  open(image: string, disks: CrashDisks, options: RawOptions = {}, recorder?: Recorder): Promise<BlockNode> {
    const host: ImageResolver = {
      resolve: async ({ filename }) => this.#optionsOf(filename, disks, recorder),
    }
    const environment = { ...this.#environment, host }
    return openNode(environment, { ...this.#optionsOf(image, disks, recorder), ...options })
  }

  #optionsOf(name: string, disks: CrashDisks, recorder: Recorder | undefined): RawOptions {
    const image = this.#image(name)
    const { driver, backing, mayName, hasDataFile, open = {}, key = {} } = image
    return {
      // An image may be open twice while chains change.
      'node-name': `${name}.${this.#opened++}`,
      discard: 'unmap',
      ...(recorder ? open : {}),
      ...key,
      driver: driver.name,
      file: this.#diskOptions(image, name, disks, recorder),
      ...(hasDataFile && { 'data-file': this.#diskOptions(image, dataDisk(name), disks, recorder) }),
      ...(backing !== undefined && !mayName && { backing: this.#optionsOf(backing, disks, recorder) }),
    }
  }

  #diskOptions(
    { alignment = 1, filter }: CrashImage,
    name: string,
    disks: CrashDisks,
    recorder: Recorder | undefined,
  ): RawOptions | BlockNode {
    const disk = disks.get(name)!
    if (!recorder) return disk.node()
    const { log, steps } = recorder
    const file = disk.node({
      limits: { requestAlignment: alignment },
      onStep: (event) => void steps.add(event),
    })
    const logged = { driver: writeLog.name, log, disk: name, file }
    return filter ? { driver: filter.name, file: logged } : logged
  }

  #image(name: string): CrashImage {
    return this.#workload.images[name]!
  }
}
