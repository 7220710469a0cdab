/** Images in the luks format survive power cuts. */
import { crashTests } from '@vmblock/block-core/testing'
import { workloads } from './testing/crash.ts'

crashTests('luks', workloads, process.env)
