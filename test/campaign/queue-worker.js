// Queue worker: a worker process of the queue campaign. It writes down what the queue gives it and
// what it says to its completions, and tries to complete what it has lost when it has been frozen.
// Ends in order on SIGTERM.

import { PartitionConfig, QueueManager, WorkerPool } from 'corelane'
import { QueueLedger } from './queue-ledger.js'
import { LANES, openQueue } from './queue-parts.js'

const { queue: place, ledger: path } = JSON.parse(process.argv[2])
const DRAIN_MS = 10_000
const STALL_LOOK_MS = 20

const ledger = new QueueLedger(path)

/** Watches what goes through a queue, in place. */
function watch(queue) {
  const held = new Map()
  const lease = queue.lease.bind(queue)
  const extend = queue.extend.bind(queue)
  const completeMany = queue.completeMany.bind(queue)
  const release = queue.release.bind(queue)
  const bury = queue.deadLetter.bind(queue)

  queue.lease = async (request) => {
    const deliveries = await lease(request)
    ledger.writeAll(
      deliveries.map((delivery) => [
        'lease',
        delivery.envelope.id,
        delivery.fence,
        delivery.deliveries,
      ]),
    )
    for (const delivery of deliveries) {
      held.set(delivery.fence, { delivery, untilMs: delivery.leasedUntilMs })
    }
    return deliveries
  }

  const complete = async (what, completions) => {
    const line = ({ delivery }, ...rest) => [delivery.envelope.id, delivery.fence, ...rest]
    ledger.writeAll(completions.map((one) => [`${what}?`, ...line(one)]))
    const statuses = await completeMany(completions)
    for (const { delivery } of completions) held.delete(delivery.fence)
    ledger.writeAll(completions.map((one, at) => [what, ...line(one, statuses[at])]))
    return statuses
  }
  queue.completeMany = (completions) => complete('complete', completions)

  queue.extend = async (deliveries) => {
    const extended = await extend(deliveries)
    const lost = new Set(extended.lost)
    for (const { fence } of deliveries) {
      const one = held.get(fence)
      if (lost.has(fence)) held.delete(fence)
      else if (one !== undefined) one.untilMs = extended.leasedUntilMs
    }
    return extended
  }

  /** Completes what it has had for too long, as one would that does not know how late it is. */
  const haunt = async () => {
    const late = [...held.values()].filter(({ untilMs }) => untilMs < performance.now())
    const completions = late.map(({ delivery }, at) => {
      const { id, partitionId, payload, retryCount } = delivery.envelope
      const result = {
        commandId: id,
        partitionId,
        workerId: queue.workerId,
        success: true,
        value: { index: payload.index },
        retryCount,
        // No two are the same: a repeated completion is known by its bytes.
        durationMs: at,
        completedAt: Date.now(),
      }
      return { delivery, result }
    })
    // Without an answer nothing is known; the judge looks at the ones with an answer.
    if (late.length > 0) await complete('zombie', completions).catch(() => {})
  }

  queue.release = (deliveries, options) => {
    for (const { fence } of deliveries) held.delete(fence)
    ledger.writeAll(
      deliveries.map(({ envelope, fence }) => ['release', envelope.id, fence, options.reason]),
    )
    return release(deliveries, options)
  }
  queue.deadLetter = async (delivery, reason, result) => {
    held.delete(delivery.fence)
    const { id } = delivery.envelope
    ledger.write('bury?', id, delivery.fence)
    const status = await bury(delivery, reason, result)
    ledger.write('bury', id, delivery.fence, status)
    return status
  }
  return { queue, haunt }
}

const { queue, haunt } = watch(await openQueue(place))
const manager = QueueManager.create({
  handlers: new URL('./queue-handlers.js', import.meta.url),
  workerData: { ledger: path },
  partitions: PartitionConfig.balanced(1),
  concurrencyPerPartition: 4,
  lanes: LANES,
})
await manager.start()
const pool = new WorkerPool(queue, manager, {
  // Handed on for a moment, so that both are seen: that others get it, and that it ends.
  unknownHandlerMs: 500,
  onIncident: ({ what, commandIds }) => {
    if (what === 'leases-expired') ledger.write('expired', commandIds.length)
  },
})
await pool.start()
ledger.write('ready', queue.workerId)
process.on('SIGTERM', async () => {
  ledger.write('leaving')
  await pool.drain(DRAIN_MS)
  await pool.close()
  await manager.close()
  await queue.close()
  ledger.write('left')
  process.exit(0)
})
// Without the campaign there is nothing to do.
process.on('disconnect', () => process.exit(1))

// A machine that is too busy is a fault like any other, and explains what it explains.
let seenMs = performance.now()
setInterval(() => {
  const lateMs = performance.now() - seenMs - STALL_LOOK_MS
  if (lateMs > place.leaseMs / 4) ledger.write('stall', Math.round(lateMs))
  if (lateMs > place.leaseMs) void haunt()
  seenMs = performance.now()
}, STALL_LOOK_MS)
process.send?.('ready')
