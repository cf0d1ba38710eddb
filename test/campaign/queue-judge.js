// Queue judge: the laws of a round of the queue campaign. What happened is in the ledger, in an
// order in which it can have happened; a law says what must not have.

import { KEYS } from './queue-plan.js'

const FAILING = {
  broken: /^RangeError/,
  poison: /given out 3 times/,
  nobody: /nobody|handler|type/i,
}

/** What the ledger says, by command and by process. */
class History {
  executions = new Map()
  /** By id: deliveries, and what became of completions. */
  deliveries = new Map()
  completions = []
  /** Leases that workers gave up because they could not extend them in time. */
  expired = 0
  #faults = []

  constructor(lines, indexOf) {
    const running = new Map()
    const leased = new Map()
    const asked = new Map()
    for (const [at, { what, pid, ms, words }] of lines.entries()) {
      switch (what) {
        case 'lease': {
          const index = indexOf(words[0])
          push(this.deliveries, words[0], { at, pid, fence: words[1] })
          leased.set(`${pid} ${index}`, at)
          break
        }
        case 'start': {
          const index = Number(words[0])
          const leasedAt = leased.get(`${pid} ${index}`) ?? at
          const execution = { index, pid, leasedAt, startAt: at, endAt: undefined, isDone: false }
          running.set(`${pid} ${index}`, execution)
          push(this.executions, index, execution)
          break
        }
        case 'end':
        case 'fail': {
          const execution = running.get(`${pid} ${words[0]}`)
          execution.endAt = at
          execution.isDone = what === 'end'
          break
        }
        case 'fault':
          this.#faults.push({ kind: words[0], pid: Number(words[1]), at, overAt: at })
          break
        case 'stall': {
          // It is written down when it is over.
          const from = lines.findIndex(({ ms: at }) => at >= ms - Number(words[0]))
          const hit = words[1] === undefined ? pid : Number(words[1])
          this.#faults.push({ kind: 'stall', pid: hit, at: from, overAt: at })
          break
        }
        case 'expired': {
          // A machine that is too slow for its leases, by its own clock; counted.
          this.#faults.push({ kind: 'expired', pid, at: Math.max(0, at - 1), overAt: at })
          this.expired += Number(words[0])
          break
        }
        case 'over':
          this.#faults.findLast(
            (one) => one.kind === words[0] && one.pid === Number(words[1]) && one.overAt === one.at,
          ).overAt = at
          break
        case 'complete?':
        case 'zombie?':
        case 'bury?': {
          const [id, fence] = words
          const one = { at, pid, what, id, fence, status: undefined }
          this.completions.push(one)
          asked.set(`${what} ${pid} ${fence}`, one)
          break
        }
        case 'complete':
        case 'zombie':
        case 'bury': {
          asked.get(`${what}? ${pid} ${words[1]}`).status = words[2]
          break
        }
        default:
      }
    }
  }

  /** Faults that hit a process between two places. */
  faultsOf(pid, from, to) {
    return this.#faults.filter(
      (fault) => (fault.pid === pid || fault.pid === 0) && fault.at < to && fault.overAt > from,
    )
  }
}

function push(map, key, value) {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

/** Given out so often, a command is taken for what kills its workers. */
const DELIVERIES_MAX = 3

/** Whether a command shared the fate of its worker as often as it may. */
function isCollateral({ command, deliveries, history }) {
  const { type, success, error } = command
  if (success || type === 'poison' || error?.code !== 'CORELANE_POISONED') return false
  // One that died at once has not written down what it was given.
  return deliveries.every(
    ({ pid, at }) => history.faultsOf(pid, at, Number.POSITIVE_INFINITY).length > 0,
  )
}

/**
 * Whether a delivery was given out after another of the same command. Their fences tell: the ledger
 * has a delivery where its worker heard of it, and an answer may have been under way for long.
 */
function isLater(fence, other) {
  const [one, two] = [fence, other].map((each) => each.split(/[/-]/).slice(-3).map(Number))
  const at = one.findIndex((number, i) => number !== two[i])
  return at !== -1 && one[at] > two[at]
}

/** The laws about one command. Each gives what is wrong, or nothing. */
const commandLaws = {
  'a command ends once, as its submitter sees it': ({ command }) =>
    command.ended !== 1 && `ended ${command.ended ?? 0} times`,

  'it ends as its handler does': (run) => {
    const { command } = run
    const { type, success, value, error, index } = command
    if (isCollateral(run)) return false
    const failing = FAILING[type]
    if (failing === undefined) {
      // Without a submitter the queue keeps no value.
      const isRight = success && (command.road === 'queue' || value?.index === index)
      return !isRight && `${success}: ${JSON.stringify(value)} ${error?.message}`
    }
    const text = `${error?.name}: ${error?.message}`
    return (success || !failing.test(text)) && `${success}: ${text}`
  },

  'the queue has on record what its submitter saw': ({ command }) => {
    const { record, success } = command
    const isRight = typeof record === 'object' && record.success === success
    return !isRight && `${JSON.stringify(record)}, and the submitter saw success: ${success}`
  },

  'nothing completes that did not run': ({ command, executions, completions }) => {
    // A zombie may complete what nobody has taken from it yet; the campaign's have not run it.
    const isZombies = completions.some(
      ({ what, status }) => what === 'zombie?' && status !== 'stale',
    )
    const hasRun = executions.some(({ isDone }) => isDone)
    return command.success && !hasRun && !isZombies && 'no run came to its end'
  },

  'one completion of an id is accepted': ({ completions }) => {
    const done = completions.filter(({ status }) => status === 'done')
    const fences = new Set(done.map(({ fence }) => fence))
    return fences.size > 1 && `${fences.size} fences: ${[...fences]}`
  },

  'no completion is accepted from one who has lost the command': ({ completions, deliveries }) => {
    for (const { what, at, fence, status, pid } of completions) {
      if (status !== 'done') continue
      const later = deliveries.find((one) => one.at < at && isLater(one.fence, fence))
      if (later === undefined) continue
      return `${what} of ${pid} with ${fence}, though ${later.fence} was given out before`
    }
    return false
  },

  'a second run has a reason': ({ command, executions, history }) => {
    for (const [at, execution] of executions.entries()) {
      const next = executions[at + 1]
      if (next === undefined) return false
      const isFailed = execution.endAt !== undefined && !execution.isDone
      if (isFailed && execution.endAt < next.startAt) continue
      // Either the first was hit, or the second is a zombie's that was hit before it could start.
      const reasons = [execution, next].flatMap(({ pid, leasedAt }) =>
        history.faultsOf(pid, leasedAt, next.startAt),
      )
      if (reasons.length === 0) {
        return `run ${at + 1} of ${command.type} in process ${execution.pid}, no fault, run again`
      }
    }
    return false
  },
}

/** The laws about the commands of one key, in the order they were submitted. */
const keyLaws = {
  'order per key: none starts before the one before it has ended': ({ runs }) => {
    for (const [at, { command, executions }] of runs.entries()) {
      const next = runs[at + 1]
      if (next === undefined || next.executions.length === 0) return false
      const first = next.executions[0].startAt
      const isEnded = executions.some(({ isDone, endAt }) => isDone && endAt < first)
      if (!isEnded && command.success)
        return `${next.command.index} starts before ${command.index} has ended`
    }
    return false
  },

  'commands of a key run one at a time': ({ runs, history }) => {
    const all = runs.flatMap(({ executions }) => executions).sort((a, b) => a.startAt - b.startAt)
    for (const [at, execution] of all.entries()) {
      const next = all[at + 1]
      if (next === undefined) return false
      if (execution.endAt !== undefined && execution.endAt < next.startAt) continue
      const reasons = [execution, next].flatMap(({ pid, leasedAt }) =>
        history.faultsOf(pid, leasedAt, next.startAt),
      )
      if (reasons.length > 0) continue
      return `${next.index} starts in ${next.pid} while ${execution.index} runs in ${execution.pid}`
    }
    return false
  },
}

/**
 * Holds a round against the laws.
 *
 * @param {import('./queue-round.js').QueueRound} round - Ended.
 * @returns {{ violations: object[], sums: Record<string, number> }}
 */
export function judge(round) {
  const { commands, lines } = round
  const indices = new Map(commands.map(({ id, index }) => [id, index]))
  const history = new History(lines, (id) => indices.get(id))
  const completions = new Map()
  for (const one of history.completions) push(completions, one.id, one)
  const violations = [...round.violations]
  const runs = commands.map((command) => ({
    command,
    history,
    executions: history.executions.get(command.index) ?? [],
    deliveries: history.deliveries.get(command.id) ?? [],
    completions: completions.get(command.id) ?? [],
  }))
  for (const run of runs) {
    for (const [law, isBroken] of Object.entries(commandLaws)) {
      const what = isBroken(run)
      if (what) violations.push({ law, index: run.command.index, what })
    }
  }
  for (let key = 0; key < KEYS; key++) {
    const ofKey = runs.filter(({ command }) => command.key === key)
    for (const [law, isBroken] of Object.entries(keyLaws)) {
      const what = isBroken({ runs: ofKey, history })
      if (what) violations.push({ law, what: `key ${key}: ${what}` })
    }
  }
  violations.push(...judgeRest(round, runs))
  return { violations, sums: sumUp(round, runs, history) }
}

/** The laws about what the queue holds in the end. */
function judgeRest({ counts, dead, garbage, commands }, runs) {
  const violations = []
  const { waiting, delayed, leased } = counts ?? {}
  if (waiting !== 0 || delayed !== 0 || leased !== 0) {
    violations.push({ law: 'nothing is left', what: JSON.stringify(counts) })
  }
  const collateral = runs.filter(isCollateral).length
  const expected = commands.filter(({ type }) => type in FAILING).length + garbage + collateral
  if (dead?.length !== expected) {
    const what = `${dead?.length} dead, ${expected} expected`
    violations.push({ law: 'the dead are those that failed for good', what })
  }
  const died = runs.filter(({ command }) => command.type === 'poison')
  for (const { command, executions } of died) {
    if (executions.length <= DELIVERIES_MAX) continue
    const what = `${executions.length} processes died of it`
    violations.push({ law: 'poison is given out three times', index: command.index, what })
  }
  return violations
}

function sumUp({ commands, lines, garbage }, runs, history) {
  const zombies = history.completions.filter(({ what }) => what === 'zombie?')
  const stale = history.completions.filter(({ status }) => status === 'stale')
  const executions = runs.reduce((sum, run) => sum + run.executions.length, 0)
  const planned = runs.filter(({ command }) => command.type === 'flaky').length
  const executed = runs.filter((run) => run.executions.length > 0).length
  return {
    commands: commands.length,
    keyed: commands.filter(({ key }) => key !== undefined).length,
    executions,
    again: executions - executed,
    flaky: planned,
    expired: history.expired,
    zombies: zombies.length,
    stale: stale.length,
    collateral: runs.filter(isCollateral).length,
    garbage,
    lines: lines.length,
  }
}
