/** Images in the vmdk format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('vmdk', workloads, process.env)
