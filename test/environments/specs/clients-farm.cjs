// The module of a farm.
const { appendFileSync } = require('node:fs')
const { threadId } = require('node:worker_threads')

let given

/** Writes of its life where a program asks for that. */
const note = (event) => process.env.FARM_LOG && appendFileSync(process.env.FARM_LOG, event)

exports.setup = (...args) => {
  given = args
  note('up ')
}
exports.teardown = () => {
  note('down ')
}
exports.caused = () => {
  throw new Error('outer', { cause: 'inner' })
}
exports.functions = () => {
  const value = { n: 1, f() {}, s: Symbol('s'), list: [() => 1, 2], big: 10n, when: new Date(0) }
  value.map = new Map([
    ['kept', { f() {} }],
    ['lost', () => 1],
  ])
  value.set = new Set([value.list, Symbol('s')])
  value.self = value
  const { messageParent } = require(process.env.FARM_PACKAGE)
  messageParent(value)
  return value
}
exports.throws = (value) => {
  throw value
}
exports.setUp = () => given
exports.add = (a = 0, b = 0) => a + b
exports.fail = (kind) => {
  if (kind === 'type') throw new TypeError('of a type')
  throw Object.assign(new Error('coded'), { code: 'E_CODE' })
}
exports.throwsNull = () => {
  throw null
}
exports.life = () => `${process.pid}/${threadId}`
exports.forceExit = () => 'a name like any other'
exports.later = async (value) => value
exports.print = (text) => console.log(text)
exports.thread = () => threadId
exports.rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
exports.begin = async (flag, ms) => {
  Atomics.store(flag, 0, 1)
  await exports.rest(ms)
  return 'ended'
}
exports.workerId = () => process.env.JEST_WORKER_ID
exports.talk = (count) => {
  const { messageParent } = require(process.env.FARM_PACKAGE)
  for (let i = 0; i < count; i++) messageParent({ i })
  return 'ended'
}
exports.exit = (counter, code) => {
  Atomics.add(counter, 0, 1)
  process.exit(code)
}
const kept = []
exports.fill = (mb) => {
  for (let i = 0; i < mb; i++) kept.push(Array.from({ length: 2 ** 17 }, (_, k) => k + i))
  return threadId
}
exports.spin = (ms) => {
  for (const until = Date.now() + ms; Date.now() < until; );
}
exports.ownName = function () {
  return this.name()
}
exports.name = () => 'own'
exports._hidden = () => 0
