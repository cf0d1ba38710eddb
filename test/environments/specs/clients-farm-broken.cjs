// The module of a farm that throws as it loads.
throw new RangeError('at load')
