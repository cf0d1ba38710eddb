// The module of a farm whose `setup` throws.
exports.setup = () => {
  throw new TypeError('not today')
}
exports.one = () => 1
