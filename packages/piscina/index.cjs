// The class itself, as `require('piscina')` gives it.
'use strict'

const { Piscina } = require('corelane/piscina')

Object.defineProperty(Piscina, 'default', { value: Piscina, configurable: true })
module.exports = Piscina
