// Control calls: carries the interfaces of control.ts over a port, by comlink.
// The main thread loads it for the first call.

import type { MessagePort } from 'node:worker_threads'
import { type Endpoint, expose, type Remote, releaseProxy, wrap } from 'comlink'
import nodeAdapter from 'comlink/dist/umd/node-adapter.js'

function endpoint(port: MessagePort): Endpoint {
  // The adapter is a UMD module: its types speak of a default member that Node does not see.
  return (nodeAdapter as unknown as (port: MessagePort) => Endpoint)(port)
}

/**
 * Serves one side's interface on a port.
 *
 * @param port - One end of a channel; both sides' interfaces share it.
 * @param side - Answers the calls.
 * @param early - Messages that came before. Default: none.
 */
export function serveControl<Side extends object>(
  port: MessagePort,
  side: Side,
  early: readonly unknown[] = [],
): void {
  const served = endpoint(port)
  expose(side, {
    ...served,
    addEventListener: (type, listener) => {
      served.addEventListener(type, listener)
      const serve = listener as (event: { readonly data: unknown }) => void
      for (const data of early) serve({ data })
    },
  })
}

/**
 * Calls the other side's interface.
 *
 * @param port - One end of a channel.
 * @returns A proxy. A call never settles if the other thread dies: race it against the exit.
 */
export function callControl<Side extends object>(port: MessagePort): Remote<Side> {
  return wrap<Side>(endpoint(port))
}

/**
 * Lets a proxy go once the other side's thread has ended. Comlink's registry holds the port of
 * every proxy that is alive, and what serves on the port may hold the proxy: that circle is never
 * collected.
 *
 * @param control - Made by {@link callControl}; it cannot be used any more.
 */
export function releaseControl(control: Remote<object>): void {
  control[releaseProxy]()
}
