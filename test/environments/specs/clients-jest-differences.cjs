// Does what jest-worker and ours do in different ways, and prints what came of it. Arguments: the
// package, the module of a farm, the module whose `setup` throws.
const { readFileSync, rmSync } = require('node:fs')
const { setTimeout: sleep } = require('node:timers/promises')

const [, , tool, file, failing] = process.argv
const log = `${tool}.log`
Object.assign(process.env, { FARM_PACKAGE: tool, FARM_LOG: log })
const { PriorityQueue, Worker } = require(tool)

const HANGS = 'hangs'

async function withFarm(options, use, module = file) {
  rmSync(log, { force: true })
  const farm = new Worker(module, { enableWorkerThreads: true, numWorkers: 1, ...options })
  const ended = await use(farm)
  await farm.end()
  return ended
}

/** What a call rejects with, by its class, or the promise of what it gives. */
const endOf = (call) =>
  call.then(
    (value) => ({ value }),
    (reason) => (reason instanceof Error ? `${reason.name}: ${reason.message}` : { reason }),
  )

/** What farms have written of their life. */
function logged() {
  try {
    return readFileSync(log, 'utf8')
  } catch {
    return ''
  }
}

/** Calls in the order in which a queue gives them, all of one priority. */
function orderOfEquals() {
  const queue = new PriorityQueue(() => 1)
  for (let n = 0; n < 6; n++) queue.enqueue({ request: [1, false, 'm', [n]] })
  return Array.from({ length: 6 }, () => queue.dequeue(0).request[3][0])
}

async function run() {
  const told = {}
  told.process = await withFarm({ enableWorkerThreads: false }, async (farm) =>
    (await farm.life()).startsWith(`${process.pid}/`),
  )
  told.keys = await withFarm(
    { numWorkers: 2, computeWorkerKey: (_method, key) => key },
    async (farm) => {
      const ids = []
      for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) ids.push(await farm.workerId(key))
      return ids.join()
    },
  )
  told.equals = orderOfEquals()
  told.error = await withFarm({}, (farm) => farm.caused().catch(({ cause }) => String(cause)))
  told.setUps = await withFarm(
    {},
    async (farm) => [await endOf(farm.one()), await endOf(farm.one())],
    failing,
  )
  told.broken = await withFarm(
    { exposedMethods: ['any'] },
    (farm) => endOf(farm.any()),
    require.resolve('./clients-farm-broken.cjs'),
  )
  told.object = await withFarm({}, (farm) => endOf(farm.throws({ a: 1 })))
  told.falsy = await withFarm({}, (farm) => endOf(farm.throws(0)))
  told.started = await withFarm({}, async (farm) => {
    await farm.start()
    return logged()
  })
  await withFarm({ workerGracefulExitTimeout: 10_000 }, () => {})
  told.unused = logged()
  told.ending = await withFarm({ workerGracefulExitTimeout: 10_000 }, async (farm) => {
    const flag = new Int32Array(new SharedArrayBuffer(4))
    const call = farm.begin(flag, 50)
    while (Atomics.load(flag, 0) === 0) await sleep(2)
    const end = farm.end()
    farm.end = () => end
    await end
    return Promise.race([call, sleep(200).then(() => HANGS)])
  })
  console.log(JSON.stringify(told))
}

void run()
