// Types of errors: compiled, never run. A line under @ts-expect-error must fail to compile, and tsc
// complains if it does not.

import { type ErrorCode, laneError } from '../../src/base/errors.ts'

const known: ErrorCode = 'CORELANE_CLOSED'
laneError(known, { state: 'closed' })

// @ts-expect-error: a code must stand in the table
laneError('CORELANE_NO_SUCH_CODE')

// @ts-expect-error: a code is a literal, not any string
laneError(String(known))

// @ts-expect-error: errors are read-only
laneError(known).code = 'CORELANE_CLOSED'
