import { crashTests, randomRequests } from '@vmblock/block-core/testing'
import { qcow2 } from './driver.ts'
const make = (name: string, create: any, more: any = {}, allows: any = {}) => ({
  name, images: { disk: { driver: qcow2, create: { cluster_size: 512, size: 65536, ...create }, ...more } }, allows,
  run: (scene: any) => randomRequests(scene, { cluster: Number(create.cluster_size ?? 512) }),
})
crashTests('try', [
  make('eager', {}),
  make('eager wt', {}, { open: { cache: { writeback: false } } }),
  make('lazy', { lazy_refcounts: 'on' }, {}, { dirty: true }),
  make('lazy wt', { lazy_refcounts: 'on' }, { open: { cache: { writeback: false } } }, { dirty: true }),
  make('64k', { cluster_size: 65536, size: 1 << 20 }),
  make('64k lazy', { cluster_size: 65536, size: 1 << 20, lazy_refcounts: 'on' }, {}, { dirty: true }),
], process.env)
