// Tables: what a page of docs says in a table, for tests that hold it against the truth.

/**
 * Reads the tables of a section.
 *
 * @param markdown - The page.
 * @param title - The section's.
 * @returns Each row by its first cell, without the heads.
 */
export function readRows(markdown: string, title: string): Map<string, readonly string[]> {
  const section = markdown.split(/^## /m).find((one) => one.startsWith(`${title}\n`)) ?? ''
  const rows = [...section.matchAll(/^\|(.*)\|$/gm)].map(([, cells]) =>
    cells!.split('|').map((cell) => cell.trim()),
  )
  const bodies = rows.filter((_, index) => index > 1 && !rows[index]![1]!.startsWith('---'))
  return new Map(bodies.map(([name, ...cells]) => [name!.replaceAll('`', ''), cells]))
}
