// Row process: measures some rows in a process of their own and prints the results as JSON.
// Usage: node row-process.js '{"rows":[…],"systems":[…],"settings":{…}}'
// A row measured alone and a row of a full run are then the same thing: nothing that ran before has
// shaped the heap or what the compiler believes.
// @ts-check

import { systemNamed } from '../systems/table.js'
import { rowNamed } from '../workloads/table.js'
import { measureRow } from './measure-row.js'
import { Shelf } from './shelf.js'

/** @type {{ rows: string[], systems: string[], settings: import('./contract.js').Settings }} */
const { rows, systems, settings } = JSON.parse(process.argv[2] ?? '')
const shelf = new Shelf()
const contenders = systems.map(systemNamed)
const results = []
for (const id of rows) results.push(await measureRow(rowNamed(id), contenders, settings, shelf))
process.stdout.write(JSON.stringify(results), () => {
  // A peer that does not let go of its threads must not hold up the next row.
  void Promise.race([shelf.closeAll(), new Promise((resolve) => setTimeout(resolve, 2_000))]).then(
    () => process.exit(),
  )
})
