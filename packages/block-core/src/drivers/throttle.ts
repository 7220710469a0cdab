/** The `throttle` filter: limits how much is read and written, together with other disks of its group. */
import { wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { type AnyDriver, defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { text } from '../text/options.ts'
import { aroundRequests, type FilteredRequest } from './around-requests.ts'
import { forwardOps } from './pass-through.ts'
import { type ThrottleGroup, ThrottleGroups } from './throttle-group.ts'
import type { Direction } from './throttle-limits.ts'

/** Which limits hold for a kind of request; the other kinds are free. */
const DIRECTION: { readonly [Kind in FilteredRequest['kind']]?: Direction } = {
  read: 'read',
  write: 'write',
  writeCompressed: 'write',
  writeZeroes: 'write',
  discard: 'write',
  copyRange: 'write',
}

const groupsOfDrivers = new WeakMap<object, ThrottleGroups>()

/** The groups that a driver made by {@link createThrottle} knows; undefined for any other driver. */
export const throttleGroupsOf = (driver: AnyDriver | undefined): ThrottleGroups | undefined =>
  driver && groupsOfDrivers.get(driver)

/**
 * Makes the `throttle` driver for an application. While its disk is being closed, requests that wait pass at once, as in
 * QEMU.
 *
 * @param groups where its option `throttle-group` is looked up
 * @throws BlockError EINVAL
 */
export function createThrottle(groups: ThrottleGroups) {
  if (!(groups instanceof ThrottleGroups)) throw wrongValue('groups', 'ThrottleGroups', groups)
  const groupOf = (name: string | undefined): ThrottleGroup => {
    if (name === undefined) throw new BlockError('EINVAL', 'Please specify a throttle group')
    const group = groups.find(name)
    if (!group) throw new BlockError('EINVAL', `Throttle group '${name}' does not exist`)
    return group
  }
  const throttle = defineDriver({
    name: 'throttle',
    kind: 'filter',
    options: { throttleGroup: text('Name of the throttle group') },
    mutableOptions: ['throttleGroup'],

    async open({ requireChild, options, nodeName }): Promise<NodeOps> {
      const child = await requireChild('file')
      let group = groupOf(options.throttleGroup)
      let member = group.join()
      const below = forwardOps(child, {
        setPatience(patience) {
          member.isFree = patience !== 'usual'
        },
        async prepareReopen({ options: changed }) {
          const next = groupOf(changed['throttleGroup'] as string | undefined)
          return {
            commit() {
              if (next === group) return
              member.leave()
              group = next
              member = next.join()
            },
            abort() {},
          }
        },
        close: async () => member.leave(),
        crash: () =>
          member.leave(new BlockError('ECANCELED', 'the throttle node is gone', { node: nodeName })),
      })
      return aroundRequests(below, async ({ kind, bytes }, run) => {
        const direction = DIRECTION[kind]
        const turn = direction && member.pass(direction, bytes)
        if (turn) await turn
        return run()
      })
    },
  })
  groupsOfDrivers.set(throttle, groups)
  return throttle
}
