// Fresh modules: lets each file of a shared process load the modules of tests anew, since some of
// them clean up after each test of the file that loads them. The package is loaded once.

import { vi } from 'vitest'

vi.resetModules()
