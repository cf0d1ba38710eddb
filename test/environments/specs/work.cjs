// Work: what every runner does with the package. It is loaded in the realm of the tests, so its
// classes are those that a user's tests see.
'use strict'

function check(holds, what) {
  if (!holds) throw new Error(`it does not hold that ${what}`)
}

module.exports = async function work(
  { QueueManager, AbortError, ConfigError, LaneError, TimeoutError },
  handlers,
) {
  const manager = QueueManager.create({ handlers, partitions: { count: 2 } })
  await manager.start()
  const sent = {
    date: new Date(5),
    map: new Map([[new Date(6), new Set(['a'])]]),
    pattern: /a+/g,
    floats: new Float64Array([0.5]),
    bytes: new Uint8Array([1, 2]),
    big: 5n,
    list: Object.assign([1], { 2: 3 }),
    error: new RangeError('far'),
  }
  const { back, tags } = await manager.run('echo', sent)
  const expected = Object.values(sent).map((value) => Object.prototype.toString.call(value))
  check(tags.join() === expected.join(), `${tags.join()} arrives, which is ${expected.join()}`)
  for (const [name, value] of Object.entries(back)) {
    const { constructor: maker } = Object(sent[name])
    check(Object(value) instanceof maker, `${name} comes back as ${maker.name}`)
  }
  check(back.date.getTime() === 5, 'a date keeps its time')
  const [[key, set]] = back.map
  check(key instanceof Date && set.has('a'), 'a map keeps what is in it')
  check(back.floats[0] === 0.5 && back.bytes[1] === 2 && back.big === 5n, 'numbers are kept')
  check(back.error.message === 'far', 'an error keeps its message')

  const thrown = await manager.run('fail').catch((error) => error)
  check(thrown instanceof TypeError && thrown.message === 'bad', 'an error arrives as its class')
  check(thrown.at instanceof Date, 'a member of an error arrives as its class')
  const unknown = await manager.run('nothing').catch((error) => error)
  check(unknown instanceof ConfigError && unknown instanceof LaneError, 'our errors have classes')
  const controller = new AbortController()
  const aborted = manager.run('wait', undefined, { signal: controller.signal })
  controller.abort()
  check((await aborted.catch((error) => error)) instanceof AbortError, 'a signal aborts a command')
  const late = await manager.run('wait', undefined, { timeoutMs: 50 }).catch((error) => error)
  check(late instanceof TimeoutError, 'a time-out passes by real time')
  const values = []
  for await (const value of manager.stream('query', 'count', 3)) values.push(value)
  check(values.join() === '0,1,2', 'a stream arrives')
  check(manager.stats().completed >= 2, 'commands are counted')
  await manager.drain()
  await manager.close()
}
