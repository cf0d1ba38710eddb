// Serve dashboard: loads the dashboard where one is served, which few programs do.
// Owns: nothing.

import type { Dashboard, DashboardManager, DashboardOptions } from './dashboard.ts'
import type { DashboardQueue } from './dashboard-queue.ts'

/** Serves a dashboard of a manager, of a queue, or of both. */
export async function serveDashboardOf(
  manager: DashboardManager | undefined,
  options: DashboardOptions | undefined,
): Promise<Dashboard> {
  const { Dashboard } = await import('./dashboard.ts')
  return Dashboard.serve(manager, options)
}

/**
 * Serves a page that shows a queue while it changes, its workers and its dead letters, and lets
 * those who have its token pause and limit lanes over all workers, and redrive dead letters. It
 * runs no commands; `manager.serveDashboard({ queue })` shows a queue beside a manager.
 *
 * @param options - The queue, port, host, token, and what may be done.
 * @returns Its `url`, with the token, and `close()`. It keeps no process alive.
 * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`.
 */
export async function serveDashboard(
  options: DashboardOptions & { readonly queue: DashboardQueue },
): Promise<Dashboard> {
  return serveDashboardOf(undefined, options)
}
