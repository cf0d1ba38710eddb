// The module of a farm that is a function, and has another.
module.exports = (n) => n + 1
module.exports.double = (n) => n * 2
