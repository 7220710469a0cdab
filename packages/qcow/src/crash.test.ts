/** Images in the qcow format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('qcow', workloads, process.env)
