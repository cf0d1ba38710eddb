// Runs a farm through its life and prints what came of it. Arguments: the package, the module.
const { setTimeout: sleep } = require('node:timers/promises')

const { Worker } = require(process.argv[2])
const file = process.argv[3]

const reasonOf = (promise) =>
  promise.then(
    (value) => ({ value }),
    ({ name, message, type, code }) => ({ name, message, type, code }),
  )

async function run() {
  const told = {}
  const farm = new Worker(file, {
    enableWorkerThreads: true,
    numWorkers: 2,
    setupArgs: ['set', 'up'],
  })
  let printed = ''
  farm.getStdout().on('data', (data) => {
    printed += data
  })
  told.methods = Object.keys(farm).filter(
    (name) => typeof farm[name] === 'function' && name in require(file),
  )
  told.sum = await farm.add(1, 2)
  told.none = await farm.add()
  told.setUp = await farm.setUp()
  told.many = await Promise.all(Array.from({ length: 50 }, (_, i) => farm.add(i, 1)))
  told.thrown = await reasonOf(farm.fail('type'))
  told.coded = await reasonOf(farm.fail('code'))
  told.promised = await farm.later('value')
  await farm.print('hello')
  await sleep(100)
  told.printed = printed
  told.end = await farm.end()
  try {
    await farm.add(1, 1)
  } catch (error) {
    told.late = error.message
  }
  const keyed = new Worker(file, {
    enableWorkerThreads: true,
    numWorkers: 2,
    exposedMethods: ['thread'],
    computeWorkerKey: (_method, key) => key,
  })
  const threads = []
  for (const key of ['a', 'b', 'a', 'b', 'a']) threads.push(await keyed.thread(key))
  told.sticks = [threads[0] === threads[2], threads[2] === threads[4], threads[1] === threads[3]]
  told.hidden = typeof keyed.add
  await keyed.end()
  console.log(JSON.stringify(told))
}

void run()
