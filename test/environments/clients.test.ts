// Clients: other people's tools do their job on the packages that take the place of piscina and
// jest-worker, and what they make is the same to the byte.

import { cpSync } from 'node:fs'
import { basename, join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { CLIENT_MS, ClientFolder } from '../support/clients.ts'
import { describeWithTools } from '../support/locked-packages.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/clients')
const modules = join(tools, 'node_modules')

// One client, then perhaps another.
vi.setConfig({ testTimeout: 2 * CLIENT_MS })

describeWithTools(tools, () => {
  const work = new ClientFolder(tools, import.meta.filename)
  afterAll(() => work.remove())
  for (let i = 0; i < 60; i++) {
    const text = `export const f${i} = async (x?: number): Promise<number> => x ?? ${i}
export class C${i} { #a = ${i}; get a(): number { return this.#a } }\n`
    work.write({ [`src/file-${i}.ts`]: text })
  }

  cpSync(join(root, 'packages/jest-worker'), work.at('node_modules/ours'), { recursive: true })

  /** What a program prints with a package. */
  const print = async (tool: string, program: string, words: string[]) =>
    JSON.parse(await work.run(program, tool, ...words))

  /** What a program prints with ours; fails unless jest-worker makes it print the same. */
  const alike = async (program: string, ...words: string[]) => {
    const ours = await print('ours', program, words)
    const theirs = () => print('jest-worker', program, words)
    expect(ours).toEqual(await work.theirs(basename(program), theirs, ours))
    return ours
  }

  /** Runs a tool as it is and on ours, each with a folder: both make the same files, so many. */
  const expectSameFiles = async (
    count: number,
    both: { theirs: string; ours: string },
    run: (tool: string, folder: string) => Promise<unknown>,
    name: string,
  ) => {
    const make = async (tool: string, folder: string) => {
      await run(tool, folder)
      return work.contents(folder)
    }
    const made = await make(both.ours, `${name}-ours`)
    expect(Object.keys(made)).toHaveLength(count)
    const theirs = () => make(both.theirs, `${name}-theirs`)
    expect(made).toEqual(await work.theirs(name, theirs, made))
  }

  test('@swc/cli compiles a tree, and its process ends by itself', async () => {
    const both = {
      theirs: join(modules, '@swc/cli'),
      ours: work.overridden('@swc/cli', 'piscina'),
    }
    const words = ['src', '--workers', '2', '--source-maps', '-d']
    const run = (tool: string, folder: string) =>
      work.run(join(tool, 'bin/swc.js'), ...words, folder)
    await expectSameFiles(120, both, run, 'swc')
  })

  test('terser-webpack-plugin minifies on our jest-worker', async () => {
    const theirs = 'terser-webpack-plugin'
    const both = { theirs, ours: work.overridden(theirs, 'jest-worker') }
    const program = work.spec('clients-webpack.cjs')
    const entry = work.spec('clients-farm.cjs')
    const run = (tool: string, folder: string) =>
      work.run(program, 'webpack', tool, entry, work.at(folder))
    await expectSameFiles(4, both, run, 'webpack')
  })

  test('fastify-piscina answers requests from our pool', async () => {
    const ours = work.overridden('fastify-piscina', 'piscina')
    const program = work.spec('clients-fastify.cjs')
    const handler = work.spec('clients-add.cjs')
    const answer = await work.run(program, 'fastify', ours, handler)
    expect(JSON.parse(answer)[0]).toHaveLength(5)
    const theirs = () => work.run(program, 'fastify', 'fastify-piscina', handler)
    expect(answer).toBe(await work.theirs('fastify', theirs, answer))
  })

  test('a farm of jest-worker and ours give the same', async () => {
    const program = work.spec('clients-jest-worker.cjs')
    const farm = work.spec('clients-farm.cjs')
    expect((await alike(program, farm)).sum).toBe(3)
  })

  test('queues, pools, messages and limits of jest-worker give the same', async () => {
    const program = work.spec('clients-jest-options.cjs')
    const modules = ['farm', 'farm-failing', 'farm-function'].map((name) =>
      work.spec(`clients-${name}.cjs`),
    )
    const printed = await alike(program, ...modules)
    expect(printed.priority).toEqual([1, 2, 3, 4, 5])
    expect(printed.functions[0]).toContain('list: [ null, 2 ]')
  })

  test('a farm of jest-worker and ours differ where docs/piscina.md says so', async () => {
    const program = work.spec('clients-jest-differences.cjs')
    work.spec('clients-farm-broken.cjs')
    const modules = ['farm', 'farm-failing'].map((name) => work.spec(`clients-${name}.cjs`))
    const [theirs, ours] = await Promise.all([
      work.theirs(basename(program), () => print('jest-worker', program, modules)),
      print('ours', program, modules),
    ])
    const setUp = 'Error: Error when calling setup: not today'
    expect(theirs).toMatchObject({
      process: false,
      keys: '1,2,1,2,1,2',
      error: 'undefined',
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
