// Handlers of the specs: Node itself loads them, in threads.

export function echo(back) {
  return { back, tags: Object.values(back).map((value) => Object.prototype.toString.call(value)) }
}

export function fail() {
  throw Object.assign(new TypeError('bad'), { at: new Date(7) })
}

export const wait = (_payload, { signal }) =>
  new Promise((resolve) => {
    signal.addEventListener('abort', resolve)
  })

export function* count(to) {
  for (let i = 0; i < to; i++) yield i
}
