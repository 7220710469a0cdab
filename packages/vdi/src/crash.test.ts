/** Images in the vdi format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('vdi', workloads, process.env)
