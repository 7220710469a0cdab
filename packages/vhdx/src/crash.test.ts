/** Images in the vhdx format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('vhdx', workloads, process.env)
