// Bench: the command that compares partition strategies on the user's own handlers and keys.
// Owns: what its flags mean.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import osUtils from 'os-utils'
import { anything, boolean, integer, text } from '../base/options.ts'
import { QueueManager } from '../index.ts'
import { asPage, asText, type StrategyReport, type WorkloadReport } from './bench-report.ts'
import {
  IN_FLIGHT,
  runTrial,
  STRATEGIES,
  type TrialFigures,
  type TrialPlan,
} from './bench-trial.ts'
import { type StrategyFigures, type StrategyRow, verdict } from './bench-verdict.ts'
import { builtInWorkloads, type Workload, workloadOf } from './bench-workloads.ts'
import { type CliCommand, EXIT_FAILED, EXIT_OK, printed, UsageError } from './command-line.ts'
import { PARTITIONS_FLAG } from './handler-flags.ts'

const SUBJECT = 'strategies'

interface BenchFlags {
  readonly handlers: string | undefined
  readonly type: string | undefined
  readonly keys: string | undefined
  readonly payload: string | undefined
  readonly partitions: number | undefined
  readonly rounds: number
  readonly ms: number
  readonly quick: boolean
  readonly json: string | undefined
  readonly html: string | undefined
}

export const benchCommand: CliCommand = {
  usage: 'bench [subject]',
  summary: 'Compare partition strategies, on your own handlers and keys if you like',
  examples: [
    'corelane bench strategies --html strategies.html',
    'corelane bench strategies --handlers ./mine.mjs --type resize --keys keys.txt',
  ],
  options: {
    handlers: {
      flag: '--handlers <module>',
      summary: 'Handler module (default: one that burns a fixed amount of work)',
      rule: text(undefined),
    },
    type: { flag: '--type <name>', summary: 'Handler to run', rule: text(undefined) },
    keys: {
      flag: '--keys <file>',
      summary: 'A key a line, or a JSON object with "key" and "payload" (default: five workloads)',
      rule: text(undefined),
    },
    payload: {
      flag: '--payload <json>',
      summary: 'Payload of commands that bring none',
      rule: anything(undefined, 'JSON', () => true),
    },
    partitions: PARTITIONS_FLAG,
    rounds: { flag: '--rounds <n>', summary: 'Trials of each', rule: integer(3, 1, 100) },
    ms: { flag: '--ms <n>', summary: 'Length of a trial', rule: integer(700, 10, 60_000) },
    quick: {
      flag: '--quick',
      summary: 'One short round; its figures mean nothing',
      rule: boolean(false),
    },
    json: { flag: '--json <file>', summary: 'Write the figures there', rule: text(undefined) },
    html: { flag: '--html <file>', summary: 'Write a page with charts', rule: text(undefined) },
  },
  action: ([subject], options) =>
    printed(bench(subject ?? SUBJECT, options as unknown as BenchFlags)),
}

async function bench(subject: string, flags: BenchFlags): Promise<number> {
  if (subject !== SUBJECT) {
    throw new UsageError(`there is no benchmark "${subject}"; benchmarks: ${SUBJECT}`)
  }
  const plan = await choosePlan(flags)
  const workloads = chooseWorkloads(flags)
  const header = describeRun(plan, flags)
  const isBusy = osUtils.loadavg(1) > osUtils.cpuCount() / 2
  if (isBusy) {
    const warning = 'the host is busy with other work: these figures are not those of an idle one'
    header.push(`Note: ${warning}`)
    process.stderr.write(`corelane: ${warning}\n`)
  }
  const reports: WorkloadReport[] = []
  for (const workload of workloads) {
    process.stderr.write(`corelane: ${workload.name}\n`)
    const rounds = flags.quick ? 1 : flags.rounds
    const figures = await compare(workload, plan, rounds)
    const hasKeys = workload.commands.some(({ key }) => key !== undefined)
    const { name, about } = workload
    reports.push({ name, about, figures, verdict: verdict(name, figures, hasKeys, rounds) })
    if (hasFailure(figures)) break
  }
  const report: StrategyReport = { header, workloads: reports }
  process.stdout.write(asText(report))
  write(flags.json, `${JSON.stringify(report, undefined, 2)}\n`)
  write(flags.html, asPage(report))
  return reports.some(({ figures }) => hasFailure(figures)) ? EXIT_FAILED : EXIT_OK
}

function hasFailure(figures: StrategyFigures): boolean {
  return Object.values(figures).some(({ failure }) => failure !== undefined)
}

/**
 * Trials of every strategy in turn, so that a machine that slows down slows all of them. A command
 * that fails ends them: figures of failures mean nothing.
 */
async function compare(
  workload: Workload,
  plan: TrialPlan,
  rounds: number,
): Promise<StrategyFigures> {
  const trials: Record<string, TrialFigures[]> = {}
  all: for (let round = 0; round < rounds; round++) {
    for (const strategy of STRATEGIES) {
      trials[strategy] ??= []
      const figures = await runTrial(workload, strategy, plan)
      trials[strategy].push(figures)
      if (figures.failure !== undefined) break all
    }
  }
  return Object.fromEntries(
    Object.entries(trials).map(([strategy, figures]) => [strategy, medians(figures)]),
  )
}

/** The median of each figure; the sum of each count that must be 0. */
function medians(trials: readonly TrialFigures[]): StrategyRow {
  const sorted = (member: Exclude<keyof TrialFigures, 'failure' | 'outOfOrder'>) =>
    trials.map((trial) => trial[member]).sort((a, b) => a - b)
  const median = (member: Parameters<typeof sorted>[0]) => sorted(member)[trials.length >> 1]!
  const rates = sorted('perSecond')
  return {
    perSecond: median('perSecond'),
    perSecondMin: rates[0]!,
    perSecondMax: rates.at(-1)!,
    waitP50: median('waitP50'),
    waitP99: median('waitP99'),
    runP50: median('runP50'),
    runP99: median('runP99'),
    imbalance: median('imbalance'),
    outOfOrder: trials.reduce((sum, { outOfOrder }) => sum + outOfOrder, 0),
    failure: trials.find(({ failure }) => failure !== undefined)?.failure,
  }
}

async function choosePlan(flags: BenchFlags): Promise<TrialPlan> {
  const { handlers, type, partitions, quick, ms } = flags
  if (handlers !== undefined && type === undefined) {
    throw new UsageError('--handlers is given without --type: name the handler to run')
  }
  if (handlers === undefined && type !== undefined) {
    throw new UsageError('--type is given without --handlers')
  }
  const builtIn = new URL('./bench-handlers.js', import.meta.url)
  return {
    handlers: handlers ?? builtIn,
    type: type ?? 'work',
    partitions: partitions ?? defaultPartitions(handlers ?? builtIn),
    warmUpMs: quick ? 20 : Math.ceil(ms / 3),
    measureMs: quick ? 50 : ms,
  }
}

/** As many as a manager makes where no number is given. */
function defaultPartitions(handlers: URL | string): number {
  return QueueManager.create({ handlers }).stats().partitions.length
}

function chooseWorkloads({ keys, payload, handlers }: BenchFlags): Workload[] {
  const given = payload === undefined ? undefined : parse(String(payload))
  if (keys === undefined) {
    const workloads = builtInWorkloads()
    if (handlers === undefined) return workloads
    // The handler's own work: what the built-in ones say of long and short is not for it.
    return workloads
      .filter(({ name }) => name !== 'long and short')
      .map((workload) => ({
        ...workload,
        commands: workload.commands.map(({ key }) => ({ key, payload: given })),
      }))
  }
  let lines: string[]
  try {
    lines = readFileSync(keys, 'utf8').split(/\r?\n/).filter(Boolean)
  } catch (cause) {
    throw new UsageError(`--keys cannot be read: ${(cause as Error).message}`, { cause })
  }
  if (lines.length === 0) throw new UsageError(`--keys is ${keys}, which has no line`)
  try {
    return [workloadOf(lines, given)]
  } catch (cause) {
    throw new UsageError(`--keys: ${(cause as Error).message}`, { cause })
  }
}

function parse(payload: string): unknown {
  try {
    return JSON.parse(payload)
  } catch (cause) {
    throw new UsageError(`--payload is no JSON: ${(cause as Error).message}`, { cause })
  }
}

function describeRun(plan: TrialPlan, { rounds, quick }: BenchFlags): string[] {
  const load = osUtils.loadavg(1).toFixed(2)
  return [
    `${osUtils.cpuCount()} cores, Node ${process.version}, ${process.platform}, host load ${load}`,
    `${plan.partitions} partitions (none: 1), ${IN_FLIGHT * plan.partitions} commands in flight, ${quick ? 1 : rounds} rounds of ${plan.measureMs} ms`,
    `handler ${plan.type} of ${plan.handlers instanceof URL ? 'corelane' : plan.handlers}`,
  ]
}

function write(file: string | undefined, content: string): void {
  if (file === undefined) return
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, content)
}
