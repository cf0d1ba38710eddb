// Dashboard page: the HTML of the dashboard, its style and its program. It loads nothing else.
// Thread: none; a browser runs it. NONCE is replaced in each answer.
// Must not: put text of commands into the page as HTML: it uses `textContent` alone.

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#d4d7dd, #3a3f47); --soft: light-dark(#f3f4f6, #1f2329);
  --accent: light-dark(#1858c8, #78a9ff); --bad: light-dark(#b3261e, #ff8a80); --page: light-dark(#fff, #16191d) }
* { box-sizing: border-box }
body { margin: 0; font: 14px/1.45 system-ui, sans-serif; background: var(--page); color: light-dark(#1b1f24, #e4e7eb) }
header { display: flex; flex-wrap: wrap; gap: .8em; align-items: center; padding: .7em 1em; border-bottom: 1px solid var(--line) }
h1 { font-size: 1.1em; margin: 0 } h2 { font-size: 1em; margin: 0 0 .5em }
.badge { padding: .1em .6em; border-radius: 1em; background: var(--accent); color: light-dark(#fff, #10131a) }
main { display: grid; gap: 1em; padding: 1em; grid-template-columns: 1fr 1fr }
@media (max-width: 60em) { main { grid-template-columns: 1fr } th:first-child, td:first-child { position: sticky; left: -.8em; background: var(--page) } }
section { border: 1px solid var(--line); border-radius: 6px; padding: .8em; overflow-x: auto; min-width: 0 }
.wide { grid-column: 1 / -1 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25em .6em; white-space: nowrap; border-bottom: 1px solid var(--soft) }
th:first-child, td:first-child, th.text, td.text { text-align: left } .text { white-space: normal; overflow-wrap: anywhere; min-width: 9em }
th { font-weight: 600 } tbody th { font-weight: inherit; min-width: 7em; white-space: normal; overflow-wrap: anywhere } .bad { color: var(--bad); font-weight: 600 }
button { font: inherit; padding: .15em .7em; border: 1px solid var(--line); border-radius: 4px; background: var(--soft); color: inherit; cursor: pointer }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
canvas { width: 100%; height: 9em; display: block }
input { font: inherit; padding: .15em .5em; max-width: 12em }
#feed { margin: 0; padding: 0; list-style: none; max-height: 16em; overflow-y: auto } #feed li { border-bottom: 1px solid var(--soft); overflow-wrap: anywhere }
#feed:empty::after { content: 'none yet' } .muted, #feed:empty { opacity: .7 } #state[data-live="no"] { color: var(--bad) }`

const BODY = `
<header><h1>corelane</h1><span id="environment" class="badge" hidden></span><span id="state" role="status" data-live="no">connecting</span>
<label>Filter lanes <input id="filter" type="search"></label><span id="host" class="muted"></span></header>
<main>
<section class="wide" data-of="lanes" hidden><h2 id="h-lanes">Lanes</h2><table aria-labelledby="h-lanes"><thead><tr><th>Lane</th><th>Queued</th><th>Running</th>
<th>Oldest</th><th>Done /s</th><th>Failed /s</th><th>Wait p50</th><th>Wait p99</th><th>Run p50</th><th>Run p99</th>
<th>Limits</th><th>Actions</th></tr></thead><tbody id="lanes"></tbody></table></section>
<section class="wide" id="waiting" hidden><h2 id="h-groups">Groups that wait longest</h2><table aria-labelledby="h-groups"><thead><tr><th>Lane</th><th class="text">Group</th><th>Oldest</th><th>Queued</th><th>Released</th></tr></thead><tbody id="groups"></tbody></table></section>
<section data-of="lanes" hidden><h2>Commands per second</h2><canvas id="throughput" role="img" aria-label="Commands per second over the last minutes"></canvas></section>
<section data-of="lanes" hidden><h2>Wait p99 of the slowest lane, milliseconds</h2><canvas id="latency" role="img" aria-label="99th percentile of waits of the slowest lane over the last minutes"></canvas></section>
<section class="wide" data-of="lanes" hidden><h2 id="h-partitions">Partitions <span id="dormant" class="muted"></span></h2><table aria-labelledby="h-partitions"><thead><tr><th>Partition</th><th>State</th><th>Busy</th>
<th>Bound</th><th>Restarts</th><th>Rings</th><th>Heap MiB</th><th>Loop delay p99</th><th class="text">Runs now</th><th>Actions</th></tr></thead><tbody id="partitions"></tbody></table></section>
<section class="wide" id="profile" hidden><h2 id="h-profile">CPU profile</h2><p><a id="profile-file">Save as a file</a> <span id="profile-at" role="status" class="muted"></span></p>
<canvas id="flames" role="img" aria-label="Flame chart of the profile; the table below has its heaviest functions"></canvas>
<table aria-labelledby="h-profile"><thead><tr><th class="text">Function</th><th class="text">Where</th><th>Self</th><th>Total</th></tr></thead><tbody id="functions"></tbody></table></section>
<section data-of="lanes" hidden><h2 id="h-events">Events</h2><ul id="feed" tabindex="0" aria-labelledby="h-events"></ul></section>
<section data-of="lanes" hidden><h2 id="h-dead">Dead letters <span id="dead-count"></span></h2><p><button id="redrive-all" hidden>Redrive all</button> <button id="purge-all" hidden>Purge all</button></p>
<table aria-labelledby="h-dead"><thead><tr><th>Command</th><th class="text">Error</th><th class="text">Payload</th><th>Actions</th></tr></thead><tbody id="dead"></tbody></table></section>
<section class="wide" data-of="queue" hidden><h2 id="h-queue">Queue <span id="queue-counts" class="muted"></span></h2><p id="queue-error" class="bad" role="status" hidden></p>
<table aria-labelledby="h-queue"><thead><tr><th>Lane</th><th>Waiting</th><th>Leased</th><th>Delayed</th><th>Dead</th><th>Workers</th>
<th>Limits over all workers</th><th>Actions</th></tr></thead><tbody id="queue-lanes"></tbody></table></section>
<section class="wide" data-of="queue" hidden><h2 id="h-workers">Workers of the queue <span id="queue-workers-count"></span></h2><table aria-labelledby="h-workers"><thead><tr><th>Worker</th><th>State</th>
<th>Host</th><th>Process</th><th>Up</th><th>Heard</th><th>Threads</th><th>Held</th><th>Running</th><th class="text">Lanes</th></tr></thead><tbody id="queue-workers"></tbody></table></section>
<section class="wide" data-of="queue" hidden><h2 id="h-queue-dead">Dead letters of the queue <span id="queue-dead-count"></span></h2><p><button id="queue-redrive-all" aria-label="Redrive all of the queue" hidden>Redrive all</button> <button id="queue-purge-all" aria-label="Purge all of the queue" hidden>Purge all</button></p>
<table aria-labelledby="h-queue-dead"><thead><tr><th>Command</th><th class="text">Error</th><th class="text">Payload</th><th>Actions</th></tr></thead><tbody id="queue-dead"></tbody></table></section>
</main>`

/** Commands may have the same id, so rows of dead letters are numbered. `laneButtons`: of a row. */
const PROGRAM = `
const at = (id) => document.getElementById(id)
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? ''
const api = (path, method = 'GET') => fetch('api/' + path, { method, headers: { authorization: 'Bearer ' + token } })
  .catch(() => Response.json({ error: 'The program does not answer.' }, { status: 503 }))
const ms = (value) => value < 1 ? (value * 1000).toFixed(0) + ' µs' : value < 1000 ? value.toFixed(1) + ' ms' : value < 120000 ? (value / 1000).toFixed(1) + ' s' : value < 7200000 ? (value / 60000).toFixed(0) + ' min' : (value / 3600000).toFixed(0) + ' h'
const of = (subject) => '?of=' + encodeURIComponent(subject)
const quantile = (histogram, name) => histogram.count > 0 ? ms(histogram[name]) : '–'
const count = (value) => value.toLocaleString('en-US', { maximumFractionDigits: 1 })
const url = new URL(location.href)
at('filter').value = url.searchParams.get('lane') ?? ''
at('filter').addEventListener('input', () => {
  url.searchParams.set('lane', at('filter').value)
  history.replaceState(undefined, '', url)
})
function node(name, text, kind) {
  const made = document.createElement(name)
  if (text !== undefined) made.textContent = text
  if (kind) made.className = kind
  return made
}
// Rows are kept, so that the focus stays where it is.
const rows = new Map()
function row(body, key, cells, buttons) {
  const id = body.id + '/' + key
  let known = rows.get(id)
  if (!known) {
    known = { row: node('tr'), buttons: node('td') }
    for (const [, kind] of cells) known.row.append(node(known.row.firstChild ? 'td' : 'th', '', kind))
    known.row.firstChild.scope = 'row'
    for (const [label, act, subject] of buttons) {
      const button = node('button', label)
      if (subject) button.setAttribute('aria-label', label + ' ' + subject)
      button.addEventListener('click', () => act(button))
      known.buttons.append(button, ' ')
    }
    if (buttons.length > 0) known.row.append(known.buttons)
    rows.set(id, known)
    body.append(known.row)
  }
  cells.forEach(([text, kind], i) => {
    const cell = known.row.children[i]
    if (cell.textContent !== text) cell.textContent = text
    if (cell.className !== (kind ?? '')) cell.className = kind ?? ''
  })
  return known
}
// The focus of a node that goes is its neighbour's.
function handOn(gone, next = gone.closest('section')) {
  if (!gone.contains(document.activeElement)) return
  if (next.tabIndex < 0) next.tabIndex = -1
  next.focus()
}
function keepOnly(body, keys) {
  for (const [id, known] of rows) {
    if (id.startsWith(body.id + '/') && !keys.has(id.slice(body.id.length + 1))) {
      const near = known.row.nextSibling ?? known.row.previousSibling
      handOn(known.row, near?.querySelectorAll('button')[[...known.buttons.children].indexOf(document.activeElement)])
      known.row.remove()
      rows.delete(id)
    }
  }
}
async function act(path, question) {
  if (question && !confirm(question)) return
  const response = await api(path, 'POST')
  if (!response.ok) alert((await response.json()).error)
  await letters(path.startsWith('queue/') ? 'queue/' : '')
}
// Points of the last 180 intervals, by time: the line breaks where nothing was measured or heard.
const charts = { throughput: { points: [] }, latency: { points: [] } }
for (const name of Object.keys(charts)) {
  at(name).addEventListener('pointermove', ({ offsetX }) => draw(name, offsetX))
  at(name).addEventListener('pointerleave', () => draw(name))
}
function plot(name, { atMs, intervalMs }, value) {
  const chart = Object.assign(charts[name], { atMs, intervalMs })
  chart.points = chart.points.filter(([time]) => time > atMs - 180 * intervalMs)
  if (value !== undefined) chart.points.push([atMs, value])
  draw(name, chart.pointed)
}
function draw(name, pointed) {
  const chart = charts[name]
  const { points, atMs, intervalMs } = chart
  chart.pointed = pointed
  const canvas = at(name)
  const { clientWidth: width, clientHeight: height } = canvas
  const scale = devicePixelRatio
  canvas.width = width * scale
  canvas.height = height * scale
  const pen = canvas.getContext('2d')
  pen.scale(scale, scale)
  pen.strokeStyle = getComputedStyle(at('environment')).backgroundColor
  pen.fillStyle = getComputedStyle(document.body).color
  pen.font = '12px system-ui'
  const top = Math.max(...points.map(([, value]) => value), 1e-9)
  const placed = points.map(([time, value]) => [width - width * (atMs - time) / intervalMs / 180, height - 20 - (height - 44) * value / top, time, value])
  pen.lineWidth = 2
  pen.lineCap = 'round'
  placed.forEach(([x, y, time], i) => {
    if (i === 0 || time - points[i - 1][0] > 3 * intervalMs) pen.moveTo(x, y)
    pen.lineTo(x, y)
  })
  const away = ([x]) => Math.abs(x - pointed)
  const [x, , time, value] = pointed === undefined ? placed.at(-1) ?? [] : placed.reduce((a, b) => away(a) < away(b) ? a : b, [])
  const said = pointed === undefined ? (time === atMs ? count(value) : 'nothing') + ' now, ' + count(top) + ' at most' : count(value ?? 0) + ' at ' + new Date(time).toLocaleTimeString()
  pen.fillText(value === undefined ? 'nothing measured' : said, 4, 14)
  pen.fillText(ms(180 * intervalMs) + ' ago', 4, height - 4)
  pen.fillText('now', width - 28, height - 4)
  if (pointed !== undefined) {
    pen.moveTo(x, 20)
    pen.lineTo(x, height - 20)
  }
  pen.stroke()
}
function changeOne(name, what, known, path, more) {
  const given = prompt('Commands of lane ' + name + ' that may ' + what + more, known ?? '')
  if (given !== null && given !== String(known ?? '')) {
    act(path + encodeURIComponent(given), given === '' ? 'Reset this limit of lane ' + name + '?' : 'Let ' + given + ' commands of lane ' + name + ' ' + what + '?')
  }
  return given !== null
}
// Limits over all workers need not be there before, and an empty answer resets one.
function changeLimits(path, name) {
  const isOfQueue = path !== 'lanes'
  const more = isOfQueue ? '; empty: as workers are configured' : ''
  const { concurrency, rate } = rows.get((isOfQueue ? 'queue-lanes/' : 'lanes/') + name).limit
  const windowMs = rate?.windowMs ?? 1000
  const where = isOfQueue ? ' over all workers' : ''
  if ((isOfQueue || concurrency) && !changeOne(name, 'run at once' + where, concurrency, path + '/concurrency' + of(name) + '&max=', more)) return
  if (isOfQueue || rate) changeOne(name, 'start in ' + windowMs + ' ms' + where, rate?.limit, path + '/rate' + of(name) + '&windowMs=' + windowMs + '&limit=', more)
}
// A profile is a tree of calls; each sample names the node that ran.
async function profile(index, button) {
  button.disabled = true
  at('profile').hidden = false
  at('profile-at').textContent = 'partition ' + index + ', 2 seconds …'
  const response = await api('partitions/profile' + of(index), 'POST')
  button.disabled = false
  // A button that is disabled loses the focus.
  if (document.activeElement === document.body) button.focus()
  const taken = await response.json()
  if (!response.ok) {
    at('profile-at').textContent = taken.error
    return
  }
  at('profile-at').textContent = 'partition ' + index + ', ' + new Date().toLocaleTimeString()
  URL.revokeObjectURL(at('profile-file').href)
  at('profile-file').href = URL.createObjectURL(new Blob([JSON.stringify(taken)], { type: 'application/json' }))
  at('profile-file').download = 'partition-' + index + '.cpuprofile'
  showProfile(taken)
}
let profiled
// A scrollbar that comes or goes changes the width, too.
new ResizeObserver(() => profiled && showProfile(profiled)).observe(at('flames'))
function showProfile(taken) {
  const { nodes, samples, timeDeltas } = profiled = taken
  const byId = new Map(nodes.map((one) => [one.id, { ...one, self: 0, total: 0, below: [] }]))
  samples.forEach((id, i) => { byId.get(id).self += Math.max(0, timeDeltas[i]) / 1000 })
  for (const one of byId.values()) one.below = (one.children ?? []).map((id) => byId.get(id))
  const root = byId.get(nodes[0].id)
  const functions = new Map()
  const isWork = ({ callFrame }) => !['(root)', '(idle)', '(program)'].includes(callFrame.functionName)
  function add(one, above) {
    const { functionName, url, lineNumber } = one.callFrame
    const key = functionName + ' ' + url + ':' + lineNumber
    const isOuter = !above.has(key)
    above.add(key)
    one.total = one.self
    for (const each of one.below) one.total += add(each, above)
    if (isOuter) above.delete(key)
    const sum = functions.get(key) ?? { key, name: functionName || '(anonymous)', where: url && url.split('/').pop() + ':' + (lineNumber + 1), self: 0, total: 0 }
    sum.self += one.self
    if (isOuter) sum.total += one.total
    if (isWork(one)) functions.set(key, sum)
    return one.total
  }
  add(root, new Set())
  keepOnly(at('functions'), new Set())
  for (const one of [...functions.values()].sort((a, b) => b.self - a.self).slice(0, 12)) {
    row(at('functions'), one.key, [[one.name, 'text'], [one.where, 'text'], [ms(one.self)], [ms(one.total)]], [])
  }
  const shown = root.below.filter(isWork)
  const depth = (one) => 1 + Math.max(0, ...one.below.map(depth))
  const deep = Math.min(40, Math.max(1, ...shown.map(depth)))
  const canvas = at('flames')
  canvas.style.height = deep * 18 + 'px'
  const scale = devicePixelRatio
  const width = canvas.width = canvas.clientWidth * scale
  canvas.height = deep * 18 * scale
  const pen = canvas.getContext('2d')
  pen.font = 11 * scale + 'px system-ui'
  const whole = shown.reduce((sum, one) => sum + one.total, 0) || 1
  function drawFlames(list, left, level) {
    if (level >= deep) return
    for (const one of [...list].sort((a, b) => b.total - a.total)) {
      const wide = width * one.total / whole
      if (wide < 1) return
      const name = one.callFrame.functionName || '(anonymous)'
      let hue = 0
      for (const char of name) hue = (hue * 31 + char.charCodeAt(0)) % 60
      pen.fillStyle = 'hsl(' + hue + ' 75% 68%)'
      pen.fillRect(left, level * 18 * scale, Math.max(1, wide - 1), 17 * scale)
      pen.fillStyle = '#16191d'
      if (wide > 40 * scale) pen.fillText(name.slice(0, wide / (6.5 * scale)), left + 3 * scale, (level * 18 + 12) * scale)
      drawFlames(one.below, left, level + 1)
      left += wide
    }
  }
  drawFlames(shown, 0, 0)
}
let isReadOnly = true
let patience
function show(news) {
  isReadOnly = news.readOnly
  patience = Math.min(3 * news.intervalMs + 10000, 2 ** 31 - 1)
  at('environment').hidden = news.environment === undefined
  at('environment').textContent = news.environment ?? ''
  for (const section of document.querySelectorAll('[data-of]')) section.hidden = news[section.dataset.of] === undefined
  if (news.lanes) showManager(news)
  if (news.queue) showQueue(news.queue)
}
function laneButtons(path, name, where) {
  return [['Pause', (button) => button.textContent === 'Pause' ? act(path + '/pause' + of(name), 'Pause ' + where + '?') : act(path + '/resume' + of(name))], ['Limit', () => changeLimits(path, name)]]
}
const limitsText = (max, rate) => [max && 'max ' + max, rate && rate.limit + ' in ' + rate.windowMs + ' ms'].filter(Boolean).join(', ')
function labelLane({ buttons }, where, isPaused, isLimitable) {
  const [pause, change] = buttons.children
  pause.textContent = isPaused ? 'Resume' : 'Pause'
  pause.setAttribute('aria-label', pause.textContent + ' ' + where)
  pause.hidden = isReadOnly
  change.setAttribute('aria-label', 'Change the limits of ' + where)
  change.hidden = isReadOnly || !isLimitable
}
// A command that is redriven and dies again within an interval leaves the count as it was.
function showCount(of, value, queue) {
  const id = of + 'dead-count'
  const { length } = at(of + 'dead').children
  if (String(value) !== at(id).dataset.count || length !== Math.min(value, 100)) letters(queue)
  for (const all of ['redrive-all', 'purge-all']) {
    if (value === 0) handOn(at(of + all))
    at(of + all).hidden = isReadOnly || value === 0
  }
  at(id).dataset.count = value
  at(id).textContent = '(' + count(value) + ')'
}
function showQueue(queue) {
  at('queue-error').hidden = queue.error === undefined
  if (at('queue-error').textContent !== (queue.error ?? '')) at('queue-error').textContent = queue.error ?? ''
  if (queue.lanes === undefined) return
  const more = queue.laneCount > queue.lanes.length ? ', the fullest ' + queue.lanes.length + ' of ' + queue.laneCount + ' lanes' : ''
  at('queue-counts').textContent = count(queue.waiting) + ' waiting, ' + count(queue.leased) + ' leased, ' + count(queue.delayed) + ' delayed' + more
  const filter = at('filter').value
  const names = new Set()
  for (const lane of queue.lanes) {
    const { name, concurrency, rate } = lane
    if (!name.includes(filter)) continue
    names.add(name)
    const limits = limitsText(concurrency, rate)
    const where = 'lane ' + name + ' on all workers'
    const known = row(at('queue-lanes'), name, [
      [name + (lane.isPaused ? ' (paused)' : '')], [count(lane.waiting)], [count(lane.leased)], [count(lane.delayed)],
      [count(lane.dead), lane.dead > 0 ? 'bad' : ''], [count(lane.workers), lane.workers === 0 && lane.waiting > 0 ? 'bad' : ''], [limits],
    ], laneButtons('queue/lanes', name, where))
    known.limit = { concurrency, rate }
    labelLane(known, where, lane.isPaused, true)
  }
  keepOnly(at('queue-lanes'), names)
  at('queue-workers-count').textContent = '(' + count(queue.workerCount) + ')'
  for (const one of queue.workers) {
    row(at('queue-workers'), one.workerId, [
      [one.workerId], [one.state, one.state === 'running' ? '' : 'bad'], [one.host], [String(one.pid)], [ms(Math.max(0, Date.now() - one.startedAt))],
      [ms(one.ageMs) + ' ago'], [count(one.partitions)], [count(one.held)], [count(one.running)], [one.lanes.join(', '), 'text'],
    ], [])
  }
  keepOnly(at('queue-workers'), new Set(queue.workers.map((one) => one.workerId)))
  showCount('queue-', queue.dead, 'queue/')
}
function showManager(news) {
  at('host').textContent = (news.state === 'running' ? '' : 'the manager is ' + news.state + ', ') + 'load ' + news.host.loadAverage.toFixed(2) + ' on ' + news.host.cores + ' cores'
  const seconds = Math.max(news.spanMs, 1) / 1000
  const filter = at('filter').value
  const names = new Set()
  let done = 0
  let wait
  for (const [name, lane] of Object.entries(news.lanes)) {
    done += lane.completed + lane.failed
    if (lane.wait.count > 0) wait = Math.max(wait ?? 0, lane.wait.p99)
    if (!name.includes(filter)) continue
    names.add(name)
    const { maxConcurrency: concurrency, rate } = news.limits.find((one) => one.name === name)
    const limits = limitsText(concurrency, rate)
    const known = row(at('lanes'), name, [
      [name + (lane.isPaused ? ' (paused)' : '')], [count(lane.queued)], [count(lane.running)],
      [lane.oldestMs > 0 ? ms(lane.oldestMs) : '–', lane.oldestMs > 10000 ? 'bad' : ''], [count(lane.completed / seconds)],
      [count(lane.failed / seconds), lane.failed > 0 ? 'bad' : ''],
      [quantile(lane.wait, 'p50')], [quantile(lane.wait, 'p99')], [quantile(lane.run, 'p50')], [quantile(lane.run, 'p99')], [limits],
    ], laneButtons('lanes', name, 'lane ' + name))
    known.limit = { concurrency, rate }
    labelLane(known, 'lane ' + name, lane.isPaused, limits !== '')
  }
  keepOnly(at('lanes'), names)
  const waiting = Object.entries(news.lanes).flatMap(([lane, { groups }]) => names.has(lane) ? groups.map((one) => ({ lane, ...one })) : [])
  const longest = waiting.sort((a, b) => b.oldestMs - a.oldestMs).slice(0, 10)
  at('waiting').hidden = longest.length === 0
  keepOnly(at('groups'), new Set())
  for (const one of longest) {
    row(at('groups'), JSON.stringify([one.lane, one.group]), [
      [one.lane], [one.group, 'text'], [ms(one.oldestMs), one.oldestMs > 10000 ? 'bad' : ''], [count(one.queued)], [count(one.released)],
    ], [])
  }
  plot('throughput', news, done / seconds)
  plot('latency', news, wait)
  const dormant = news.partitions.filter(({ state }) => state === 'dormant').length
  at('dormant').textContent = dormant > 0 ? '(' + dormant + ' more are dormant)' : ''
  for (const one of news.partitions) {
    const runs = one.runs.map((run) => run.lane + '/' + run.type + (run.group === undefined ? '' : ' of ' + run.group) + ' ' + ms(run.runningMs)).join(', ')
    const known = row(at('partitions'), one.index, [
      [String(one.index)], [one.state, one.state === 'failed' ? 'bad' : ''],
      [(100 * Math.min(1, one.busyMs / 1000 / seconds)).toFixed(0) + ' %'], [count(one.bound)],
      [count(one.restarts), one.restarts > 0 ? 'bad' : ''],
      [(100 * Math.max(one.commandRingFill, one.resultRingFill)).toFixed(0) + ' %'], [one.heapMb.toFixed(1)], [quantile(one.loopDelay, 'p99')], [runs, 'text'],
    ], [['Profile', (button) => profile(one.index, button)]])
    known.row.hidden = one.state === 'dormant'
    known.buttons.firstChild.hidden = isReadOnly || one.state !== 'ready'
    known.buttons.firstChild.setAttribute('aria-label', 'Profile partition ' + one.index)
  }
  for (const one of news.feed) {
    const where = one.lane ?? (one.partition === undefined ? '' : 'partition ' + one.partition)
    at('feed').prepend(node('li', new Date(news.atMs).toLocaleTimeString() + ' ' + [one.event, where, one.type, one.id, one.error].filter((text) => text !== undefined).join(' · ')))
  }
  while (at('feed').children.length > 200) at('feed').lastChild.remove()
  showCount('', news.deadLetters, '')
}
// Dead letters of the manager, or of the queue.
async function letters(queue) {
  const response = await api(queue + 'dead')
  if (!response.ok) return
  const list = await response.json()
  const body = at(queue ? 'queue-dead' : 'dead')
  const keys = new Set()
  for (const one of list) {
    let nth = 0
    while (keys.has(nth + '/' + one.id)) nth++
    keys.add(nth + '/' + one.id)
    const where = one.id + (queue && ' of the queue')
    row(body, nth + '/' + one.id, [[one.id + ' ' + one.lane + '/' + one.type], [one.error, 'text bad'], [one.payload, 'text']],
      isReadOnly ? [] : [['Redrive', () => act(queue + 'dead/redrive' + of(one.id)), where], ['Purge', () => act(queue + 'dead/purge' + of(one.id), 'Purge ' + one.id + '?'), where]])
  }
  keepOnly(body, keys)
}
at('redrive-all').addEventListener('click', () => act('dead/redriveAll', 'Redrive all dead letters?'))
at('purge-all').addEventListener('click', () => act('dead/purgeAll', 'Purge all dead letters?'))
at('queue-redrive-all').addEventListener('click', () => act('queue/dead/redriveAll', 'Redrive the dead letters of the queue, the oldest 1,000 at most?'))
at('queue-purge-all').addEventListener('click', () => act('queue/dead/purgeAll', 'Purge the dead letters of the queue, the oldest 1,000 at most?'))
function tell(text, isLive) {
  at('state').dataset.live = isLive ? 'yes' : 'no'
  if (at('state').textContent !== text) at('state').textContent = text
}
async function listen() {
  const response = await api('events')
  if (response.status === 401) throw new Error('The token is missing or wrong: open the address that the program printed.')
  if (!response.ok) throw new Error((await response.json()).error)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    // A connection that is lost on the way does not say so.
    const silence = patience && setTimeout(() => reader.cancel(), patience)
    const { value, done } = await reader.read()
    clearTimeout(silence)
    if (done) return
    const parts = (text + value).split('\\n\\n')
    text = parts.pop()
    for (const part of parts) show(JSON.parse(part.slice(6)))
    tell('live', true)
  }
}
async function run() {
  for (;;) {
    try {
      await listen()
      tell('The connection was lost; connecting again.', false)
    } catch (error) {
      tell(error.message, false)
      if (error.message.startsWith('The token')) return
    }
    await new Promise((resolve) => setTimeout(resolve, 2000))
  }
}
run()`

export const DASHBOARD_PAGE: string = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>corelane</title><style nonce="NONCE">${STYLE}</style></head>
<body>${BODY}<script nonce="NONCE" type="module">${PROGRAM}</script></body></html>
`
