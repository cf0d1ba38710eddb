// Clients: other people's tools do their job on the packages that take the place of piscina and
// jest-worker, and what they make is the same to the byte.

import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ClientFolder } from '../support/clients.ts'
import { describeWithTools } from '../support/locked-packages.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/clients')
const modules = join(tools, 'node_modules')

describeWithTools(tools, () => {
  const work = new ClientFolder(tools)
  afterAll(() => work.remove())
  for (let i = 0; i < 60; i++) {
    const text = `export const f${i} = async (x?: number): Promise<number> => x ?? ${i}
export class C${i} { #a = ${i}; get a(): number { return this.#a } }\n`
    work.write({ [`src/file-${i}.ts`]: text })
  }

  cpSync(join(root, 'packages/jest-worker'), work.at('node_modules/ours'), { recursive: true })

  /** What a program prints with jest-worker, and with ours. */
  const fromBoth = (program: string, ...words: string[]) =>
    Promise.all(
      ['jest-worker', 'ours'].map(async (tool) =>
        JSON.parse(await work.run(program, tool, ...words)),
      ),
    )

  test('@swc/cli compiles a tree, and its process ends by itself', async () => {
    const ours = work.overridden('@swc/cli', 'piscina')
    const words = ['src', '--workers', '2', '--source-maps', '-d']
    await Promise.all([
      work.run(join(modules, '@swc/cli/bin/swc.js'), ...words, 'swc-theirs'),
      work.run(join(ours, 'bin/swc.js'), ...words, 'swc-ours'),
    ])
    const made = work.contents('swc-ours')
    expect(Object.keys(made)).toHaveLength(120)
    expect(made).toEqual(work.contents('swc-theirs'))
  })

  test('terser-webpack-plugin minifies on our jest-worker', async () => {
    const ours = work.overridden('terser-webpack-plugin', 'jest-worker')
    const program = work.spec('clients-webpack.cjs')
    const entry = work.spec('clients-farm.cjs')
    await Promise.all([
      work.run(program, 'webpack', 'terser-webpack-plugin', entry, work.at('webpack-theirs')),
      work.run(program, 'webpack', ours, entry, work.at('webpack-ours')),
    ])
    const made = work.contents('webpack-ours')
    expect(Object.keys(made)).toHaveLength(4)
    expect(made).toEqual(work.contents('webpack-theirs'))
  })

  test('fastify-piscina answers requests from our pool', async () => {
    const ours = work.overridden('fastify-piscina', 'piscina')
    const program = work.spec('clients-fastify.cjs')
    const handler = work.spec('clients-add.cjs')
    const [answer, theirs] = await Promise.all([
      work.run(program, 'fastify', ours, handler),
      work.run(program, 'fastify', 'fastify-piscina', handler),
    ])
    expect(JSON.parse(answer)[0]).toHaveLength(5)
    expect(answer).toBe(theirs)
  })

  test('a farm of jest-worker and ours give the same', async () => {
    const program = work.spec('clients-jest-worker.cjs')
    const farm = work.spec('clients-farm.cjs')
    const [theirs, ours] = await fromBoth(program, farm)
    expect(ours).toEqual(theirs)
    expect(theirs.sum).toBe(3)
  })

  test('queues, pools, messages and limits of jest-worker give the same', async () => {
    const program = work.spec('clients-jest-options.cjs')
    const modules = ['farm', 'farm-failing', 'farm-function'].map((name) =>
      work.spec(`clients-${name}.cjs`),
    )
    const [theirs, ours] = await fromBoth(program, ...modules)
    expect(ours).toEqual(theirs)
    expect(theirs.priority).toEqual([1, 2, 3, 4, 5])
  })

  test('a farm of jest-worker and ours differ where docs/piscina.md says so', async () => {
    const program = work.spec('clients-jest-differences.cjs')
    work.spec('clients-farm-broken.cjs')
    const modules = ['farm', 'farm-failing'].map((name) => work.spec(`clients-${name}.cjs`))
    const [theirs, ours] = await fromBoth(program, ...modules)
    const setUp = 'Error: Error when calling setup: not today'
    expect(theirs).toMatchObject({
      process: false,
      keys: '1,2,1,2,1,2',
      error: 'undefined',
      functions: { value: { n: 1 } },
      setUps: [setUp, { value: 1 }],
      broken: 'Error: Call retries were exceeded',
      object: { reason: { type: 'Object', a: 1 } },
      falsy: { value: null },
      started: 'up ',
      unused: 'down ',
      ending: 'hangs',
    })
    expect(theirs.equals).not.toEqual([0, 1, 2, 3, 4, 5])
    expect(ours).toEqual({
      process: true,
      keys: expect.not.stringMatching('1,2,1,2,1,2'),
      equals: [0, 1, 2, 3, 4, 5],
      error: 'inner',
      functions: 'SerializationError',
      setUps: [setUp, setUp],
      broken: 'RangeError: at load',
      object: { reason: { a: 1 } },
      falsy: { reason: 0 },
      started: '',
      unused: '',
      ending: 'ended',
    })
  })
})
