// Test summary: adds up vitest's JSON reports and prints the closing line of scripts/test.
// Usage: node scripts/test-summary.mjs <vitest's exit code> <report.json>...
// @ts-check

import { readFileSync } from 'node:fs'

const [exitCode, ...reports] = process.argv.slice(2)
let passed = 0
let failed = 0
let skipped = 0

for (const path of reports) {
  const text = readFileSync(path, 'utf8')
  if (text === '') continue // vitest ended before it could report; its exit code tells
  for (const file of JSON.parse(text).testResults) {
    // A file that could not be loaded has no tests to count, yet it failed.
    const { status, assertionResults: tests } = file
    if (status === 'failed' && tests.every((test) => test.status !== 'failed')) failed += 1
    for (const test of tests) {
      if (test.status === 'passed') passed += 1
      else if (test.status === 'failed') failed += 1
      else skipped += 1
    }
  }
}

// An error outside any test (a floating rejection, no test found) shows only in the exit code.
if (exitCode !== '0' && failed === 0) {
  console.log(
    `vitest ended with exit code ${exitCode} though no test failed: counted as one failure`,
  )
  failed = 1
}
const skipsFail = process.env.CI === 'true' && skipped > 0
if (skipsFail) console.log('tests were skipped, which is a failure where CI=true')

console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || skipsFail ? 1 : 0
