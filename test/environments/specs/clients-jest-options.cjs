// Makes farms with the rarer options and prints what came of them. Arguments: the package, the
// module, the module whose `setup` throws, the module that is a function.
const { setTimeout: sleep } = require('node:timers/promises')
const { inspect } = require('node:util')

const [, , tool, file, failing, functionFile] = process.argv
process.env.FARM_PACKAGE = tool
const { FifoQueue, PriorityQueue, Worker } = require(tool)

const reasonOf = (promise) =>
  promise.then(
    (value) => ({ value }),
    ({ name, message, type }) => ({ name, message, type }),
  )

async function withFarm(options, use, module = file) {
  const farm = new Worker(module, { enableWorkerThreads: true, numWorkers: 1, ...options })
  const ended = await use(farm)
  await farm.end()
  return ended
}

/** The order in which calls end that wait for a first one. */
function orderOf(taskQueue) {
  return withFarm({ taskQueue }, async (farm) => {
    const order = []
    const first = farm.rest(50)
    const calls = [3, 1, 2, 5, 4].map(async (n) => order.push(await farm.later(n)))
    await Promise.all([first, ...calls])
    return order
  })
}

/** What a queue gives three workers, in a random walk of its own and of shared calls. */
function walk(queue, seed) {
  let state = seed
  const random = (below) => {
    state = (state * 1103515245 + 12345) % 2 ** 31
    return Math.floor((state / 2 ** 31) * below)
  }
  const given = []
  for (let n = 0; n < 500; n++) {
    if (random(2) === 0)
      queue.enqueue({ request: [1, false, 'm', [n]] }, [undefined, 0, 1, 2][random(4)])
    const task = random(2) === 0 ? queue.dequeue(random(3)) : undefined
    if (task) task.request[1] = true
    given.push(task === null ? null : task?.request[3][0])
  }
  return given.join()
}

class LastInFirstOut {
  tasks = []
  enqueue(task) {
    this.tasks.push(task)
  }
  dequeue() {
    return this.tasks.pop() ?? null
  }
}

/** Workers of calls that follow each other. */
function workersBy(options) {
  return withFarm({ numWorkers: 2, taskQueue: new FifoQueue(), ...options }, async (farm) => {
    const ids = []
    for (const key of ['a', 'b', 'a', 'b']) ids.push(await farm.workerId(key))
    return ids
  })
}

class OwnPool {
  constructor(path, { numWorkers, maxRetries, setupArgs, enableWorkerThreads }) {
    this.options = [path === file, numWorkers, maxRetries, setupArgs, enableWorkerThreads]
  }
  getStdout() {
    return process.stdout
  }
  getStderr() {
    return process.stderr
  }
  async start() {}
  send(workerId, [, isProcessed, method, args], onStart, onEnd, onCustomMessage) {
    onStart({ getWorkerId: () => workerId })
    setImmediate(() => {
      onCustomMessage('message')
      if (method === 'fail') onEnd(new Error('pool'), null)
      else onEnd(null, [workerId, isProcessed, method, args, this.options])
    })
  }
  async end() {
    return { forceExited: true }
  }
}

async function runsOf(options, ending) {
  const counter = new Int32Array(new SharedArrayBuffer(4))
  return withFarm(options, async (farm) => {
    const reason = await reasonOf(farm.exit(counter, ending))
    return [reason, Atomics.load(counter, 0), await farm.add(1, 2)]
  })
}

async function run() {
  const told = {}
  told.priority = await orderOf(new PriorityQueue((_method, n) => n))
  told.fifo = await orderOf(new FifoQueue())
  told.walks = [1, 2, 3].flatMap((seed) => [
    walk(new FifoQueue(), seed),
    walk(new PriorityQueue((_method, n) => (n * 7919) % 1009), seed),
  ])
  told.custom = await orderOf(new LastInFirstOut())
  told.roundRobin = await workersBy({})
  told.inOrder = await workersBy({ workerSchedulingPolicy: 'in-order' })
  told.keyed = await workersBy({ computeWorkerKey: (_method, key) => key })
  told.pool = await withFarm({ WorkerPool: OwnPool, numWorkers: 2 }, async (farm) => {
    const heard = []
    const calls = [farm.add(1), farm.fail(2), farm.add(3)]
    calls[0].UNSTABLE_onCustomMessage((message) => heard.push(message))
    return [await Promise.all(calls.map(reasonOf)), heard]
  })
  told.messages = await withFarm({}, async (farm) => {
    const heard = []
    const call = farm.talk(3)
    const stop = call.UNSTABLE_onCustomMessage((message) => heard.push(message))
    const result = await call
    stop()
    return [result, heard]
  })
  told.functions = await withFarm({}, async (farm) => {
    const heard = []
    const call = farm.functions()
    call.UNSTABLE_onCustomMessage((message) => heard.push(message))
    const result = await call
    return [inspect(result), inspect(heard)]
  })
  try {
    require(tool).messageParent('from the main thread')
  } catch ({ name, message }) {
    told.outside = { name, message }
  }
  told.retries = await runsOf({}, 3)
  told.fewRetries = await runsOf({ maxRetries: 1 }, 3)
  told.noRetry = await runsOf({ maxRetries: 0 }, 3)
  told.leaves = await runsOf({}, 0)
  // Its counter does not reach another process.
  const [inProcess] = await runsOf({ enableWorkerThreads: false, maxRetries: 1 }, 3)
  told.processes = inProcess
  told.memory = await withFarm({ resourceLimits: { maxOldGenerationSizeMb: 20 } }, async (farm) => [
    await reasonOf(farm.fill(1_000)),
    await farm.add(1, 2),
  ])
  told.idleMemory = await withFarm({ idleMemoryLimit: 40 * 2 ** 20 }, async (farm) => {
    const first = await farm.fill(1)
    await sleep(300)
    const same = await farm.fill(50)
    let next = same
    for (let i = 0; i < 100 && next === same; i++) {
      await sleep(20)
      next = await farm.fill(0)
    }
    return [first === same, next === same]
  })
  told.ids = await withFarm({ numWorkers: 2, taskQueue: new FifoQueue() }, (farm) =>
    Promise.all([farm.workerId(), farm.workerId()]),
  )
  told.self = await withFarm({}, (farm) => farm.ownName())
  told.setUp = await withFarm({}, (farm) => reasonOf(farm.one()), failing)
  told.function = await withFarm(
    {},
    async (farm) => [
      Object.keys(farm).includes('double'),
      await farm.default(1),
      await farm.double(2),
    ],
    functionFile,
  )
  told.names = await withFarm({}, (farm) => farm.forceExit())
  told.null = await withFarm({}, (farm) => reasonOf(farm.throwsNull()))
  const keys = { 1: undefined, 2: null, 3: 7, 4: '7' }
  for (const taskQueue of [undefined, new FifoQueue()]) {
    const computeWorkerKey = (_method, n) => keys[n]
    const ids = await withFarm({ numWorkers: 3, computeWorkerKey, taskQueue }, (farm) =>
      Promise.all([1, 2, 3, 4].map((n) => farm.workerId(n))),
    )
    told[`keys of ${taskQueue ? 'a queue' : 'none'}`] = [ids.length, ids[2] === ids[3]]
  }
  // A process of which 0 is the limit runs one call.
  told.lives = await withFarm({ idleMemoryLimit: 0, enableWorkerThreads: false }, async (farm) => {
    const first = await farm.life()
    let next = first
    for (let i = 0; i < 100 && next === first; i++) {
      await sleep(20)
      next = await farm.life()
    }
    return next === first
  })
  const ending = new Worker(file, {
    enableWorkerThreads: true,
    numWorkers: 1,
    workerGracefulExitTimeout: 10_000,
  })
  await ending.add()
  // What it gives is lost with jest-worker: such a call never settles.
  reasonOf(ending.rest(200))
  await sleep(100)
  told.ending = await ending.end()
  const busy = new Worker(file, {
    enableWorkerThreads: true,
    numWorkers: 1,
    workerGracefulExitTimeout: 100,
  })
  await busy.add()
  reasonOf(busy.spin(60_000))
  await sleep(100)
  told.busy = await busy.end()
  try {
    new Worker('relative.js')
  } catch ({ message }) {
    told.relative = message
  }
  console.log(JSON.stringify(told))
}

void run()
