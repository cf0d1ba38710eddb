// Memory: neither commands nor managers leave anything behind. Bounds are generous; a leak of the
// smallest thing per command would be over them.

import { QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { collectGarbage } from '../support/garbage.ts'
import { fixture, moduleOf, open } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'

const MIB = 2 ** 20

test('200,000 commands leave nothing on the heap of the main thread or of a partition', async () => {
  const ending = await runProgram(
    `
    const { setFlagsFromString } = require('node:v8')
    const { runInNewContext } = require('node:vm')
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc')
    const module = \`data:text/javascript,\${encodeURIComponent(\`
      import { setFlagsFromString } from 'node:v8'
      import { runInNewContext } from 'node:vm'
      setFlagsFromString('--expose-gc')
      const collect = runInNewContext('gc')
      export const echo = (payload, context) => ({ payload, id: context.id })
      export const later = async (payload) => payload
      export const fail = () => { throw new Error('fails') }
      export const used = () => { collect(); return process.memoryUsage().heapUsed }
    \`)}\`
    const manager = QueueManager.create({ handlers: module, partitions: { strategy: 'hash', count: 1 } })
    await manager.start()
    async function round(count) {
      for (let done = 0; done < count; done += 1000) {
        const all = []
        for (let i = 0; i < 1000; i++) {
          const key = 'key ' + (i % 300)
          const type = i % 50 === 0 ? 'fail' : i % 3 === 0 ? 'later' : 'echo'
          all.push(manager.run(type, { done, i, text: 'some text' }, { key }).catch(() => {}))
        }
        await Promise.all(all)
      }
      collect()
      return [process.memoryUsage().heapUsed, await manager.run('used')]
    }
    await round(20_000)
    const before = await round(20_000)
    const after = await round(200_000)
    await manager.close()
    console.log(JSON.stringify(after.map((used, i) => used - before[i])))`,
    60_000,
  )
  expect(ending).toMatchObject({ code: 0, stderr: '' })
  const [main, partition] = JSON.parse(ending.stdout) as [number, number]
  // 15 bytes a command: fewer than the smallest entry of a table takes.
  expect(main).toBeLessThan(3 * MIB)
  expect(partition).toBeLessThan(3 * MIB)
}, 90_000)

/** The life of a manager. */
async function cycle(): Promise<void> {
  const manager = QueueManager.create({
    handlers: fixture('values.js'),
    partitions: 1,
    ringBytes: 2 ** 22,
  })
  await within(manager.start(), 'start')
  await within(manager.run('echo', 1), 'echo')
  await within(manager.close(), 'close')
}

test('one collection frees them: nothing waits until comlink lets its proxies go', async () => {
  await cycle()
  await new Promise((resolve) => setTimeout(resolve, 200))
  for (let i = 0; i < 2; i++) collectGarbage()
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 6; i++) await cycle()
  await new Promise((resolve) => setTimeout(resolve, 200))
  collectGarbage()
  // Each had 8 MiB of rings. Another thread of V8's frees them afterwards.
  await until(() => process.memoryUsage().arrayBuffers - before < 10 * MIB, 'less memory')
})

test('the memory of threads that died goes with them', async () => {
  const manager = await open('values.js', {
    partitions: { strategy: 'single' },
    handlers: 'data:text/javascript,export const die = () => process.exit(1)',
    ringBytes: 2 ** 22,
  })
  const settle = async () => {
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      collectGarbage()
    }
    return process.memoryUsage().arrayBuffers
  }
  const die = () =>
    within(
      manager.run('die').catch(() => {}),
      'a death',
    )
  await die()
  const before = await settle()
  for (let i = 0; i < 8; i++) await die()
  // Each has 8 MiB of rings.
  expect((await settle()) - before).toBeLessThan(30 * MIB)
})

test('a thread keeps the text of its program once', async () => {
  const handlers = moduleOf(`
    import { json } from 'node:stream/consumers'
    import { getHeapSnapshot } from 'node:v8'
    export async function longStrings() {
      const { snapshot, nodes, strings } = await json(getHeapSnapshot())
      const { node_fields: fields, node_types: [types] } = snapshot.meta
      const [type, name, size] = ['type', 'name', 'self_size'].map((one) => fields.indexOf(one))
      const found = []
      for (let i = 0; i < nodes.length; i += fields.length) {
        const isLong = types[nodes[i + type]] === 'string' && nodes[i + size] > 50_000
        if (isLong) found.push(strings[nodes[i + name]].slice(0, 60))
      }
      return found
    }
  `)
  const manager = await open('values.js', { handlers, partitions: 1 })
  // Node 26 keeps the texts of its own modules; those begin with comments or a directive.
  const texts = (await within(manager.run('longStrings'), 'the strings')) as string[]
  expect(texts.filter((text) => text.startsWith('var '))).toHaveLength(1)
})
