/** The crash explorer finds planted bugs: each of these skips a flush, or does without a rule of the log. */
import {
  type Change,
  type Forgets,
  forgetfulDisk,
  type PlantedBug,
  plantedBugTests,
} from '@vmblock/block-core/testing'
import { vi } from 'vitest'
import { Headers } from './headers.ts'
import { ReplayedFile } from './replay.ts'
import { oneByOne } from './testing/crash.ts'
import { BAT_AT, DATA_AT, LOG_AT } from './testing/images.ts'

const on = (forgets: Forgets) => oneByOne('one by one', { filter: forgetfulDisk(forgets) })
const inside =
  (from: number, to: number) =>
  ({ offset }: Change): boolean =>
    offset >= from && offset < to
const isData = inside(DATA_AT, Number.POSITIVE_INFINITY)
const isLog = inside(LOG_AT, BAT_AT)
const isTable = inside(BAT_AT, DATA_AT)
const last = (changes: readonly Change[], is: (change: Change) => boolean): boolean =>
  changes.slice(-1).some(is)

const BUGS: readonly PlantedBug[] = [
  {
    name: 'an entry in the log does not wait for its data',
    rules: ['opens', 'reads back'],
    workload: on({ flush: (changes) => last(changes, isData) }),
  },
  {
    name: 'a flush of the guest does not reach the log',
    rules: ['reads back'],
    workload: on({ flush: (changes) => last(changes, isLog) }),
  },
  {
    name: 'the log is emptied before the table is durable',
    rules: ['reads back', 'opens', 'leaks at most'],
    workload: on({ flush: (changes) => last(changes, isTable) }),
  },
  {
    name: 'the log is not emptied in the headers before it begins anew',
    rules: ['reads back', 'opens', 'clean'],
    workload: oneByOne('one by one'),
    plant() {
      const { update } = Headers.prototype
      vi.spyOn(Headers.prototype, 'update').mockImplementation(async function (this: Headers, file, change) {
        if (change.logGuid !== 0n) await update.call(this, file, change)
      })
    },
  },
  {
    name: 'a reader does not look at the log',
    rules: ['reads back', 'intact', 'opens'],
    workload: oneByOne('one by one'),
    plant: () =>
      void vi.spyOn(ReplayedFile.prototype, 'read').mockImplementation(async function (
        this: ReplayedFile,
        _,
        into,
      ) {
        into.fill(0)
      }),
  },
]

plantedBugTests(BUGS)
