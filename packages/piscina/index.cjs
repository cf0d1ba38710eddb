// The class itself, as `require('piscina')` gives it.
'use strict'

module.exports = require('corelane/piscina').Piscina
