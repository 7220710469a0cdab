/** Images in the cloop format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('cloop', workloads, process.env)
