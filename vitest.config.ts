import { defineConfig } from 'vitest/config'

const source = (path: string): string => new URL(`./packages/${path}`, import.meta.url).pathname

/** Tests run on the sources; subpaths come before the roots they start with. */
const alias = {
  '@vmblock/block-core/node': source('block-core/src/node/index.ts'),
  '@vmblock/block-core/testing': source('block-core/src/testing/index.ts'),
  '@vmblock/block-core': source('block-core/src/index.ts'),
  '@vmblock/raw': source('raw/src/index.ts'),
  '@vmblock/qcow2': source('qcow2/src/index.ts'),
  '@vmblock/qemu-io-ts': source('qemu-io-ts/src/index.ts'),
  '@vmblock/qemu-img-ts': source('qemu-img-ts/src/index.ts'),
}

export default defineConfig({
  test: {
    projects: [
      { resolve: { alias }, test: { name: 'unit', include: ['packages/*/src/**/*.test.ts'] } },
      {
        resolve: { alias },
        test: { name: 'iotests', include: ['tests/iotests/**/*.test.ts'], pool: 'forks', isolate: false },
      },
    ],
  },
})
