// The module of a farm.
const { threadId } = require('node:worker_threads')

let given

exports.setup = (...args) => {
  given = args
}
exports.setUp = () => given
exports.add = (a = 0, b = 0) => a + b
exports.fail = (kind) => {
  if (kind === 'type') throw new TypeError('of a type')
  throw Object.assign(new Error('coded'), { code: 'E_CODE' })
}
exports.later = async (value) => value
exports.print = (text) => console.log(text)
exports.thread = () => threadId
exports._hidden = () => 0
