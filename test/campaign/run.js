// Run: `npm run test:fault` and its arguments.
//
//   npm run test:fault                        every campaign, a quarter of an hour or more
//   npm run test:fault -- crash --seed 7      one of them, with options of its own
//   npm run test:fault -- queue --quick

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const CAMPAIGNS = ['crash', 'mix', 'queue', 'queue-mix']

const [first, ...rest] = process.argv.slice(2)
if (first !== undefined && !CAMPAIGNS.includes(first)) {
  throw new Error(`there is no campaign "${first}"; campaigns: ${CAMPAIGNS.join(', ')}`)
}
for (const name of first === undefined ? CAMPAIGNS : [first]) {
  const script = fileURLToPath(new URL(`./${name}-campaign.js`, import.meta.url))
  const { status } = spawnSync(process.execPath, [script, ...rest], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
