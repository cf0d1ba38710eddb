// The handler of a server.
module.exports = ({ a, b }) => a + b
