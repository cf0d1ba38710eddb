import { availableParallelism } from 'node:os'
import { afterEach, expect, test, vi } from 'vitest'
import { CORES_VARIABLE, quotaCores, usableCores } from '../../../src/coordinator/cores.ts'

/** A machine whose kernel has these files only. */
function machine(files: Record<string, string>) {
  return (path: string) => (Object.hasOwn(files, path) ? files[path] : undefined)
}

const V1 = '/sys/fs/cgroup/cpu'
const V2 = '/sys/fs/cgroup'

afterEach(() => {
  vi.unstubAllEnvs()
})

test('without control groups there is no quota', () => {
  expect(quotaCores(machine({}))).toBe(Number.POSITIVE_INFINITY)
  expect(quotaCores(machine({ '/proc/self/cgroup': '' }))).toBe(Number.POSITIVE_INFINITY)
})

test.each([
  ['200000 100000\n', 2],
  ['50000 100000\n', 0.5],
  ['250000 100000', 2.5],
  ['10000 5000\n', 2],
  ['300000', 3],
  ['max 100000\n', Number.POSITIVE_INFINITY],
  ['max', Number.POSITIVE_INFINITY],
  // One that cannot be read counts as none.
  ['', Number.POSITIVE_INFINITY],
  ['garbage', Number.POSITIVE_INFINITY],
  ['0 100000', Number.POSITIVE_INFINITY],
  ['5 0x', Number.POSITIVE_INFINITY],
])('a version 2 quota of %j allows %d cores', (text, cores) => {
  const read = machine({ '/proc/self/cgroup': '0::/\n', [`${V2}/cpu.max`]: text })
  expect(quotaCores(read)).toBe(cores)
})

test.each([
  ['200000\n', '100000\n', 2],
  ['150000\n', '50000\n', 3],
  ['-1\n', '100000\n', Number.POSITIVE_INFINITY],
  ['0\n', '100000\n', Number.POSITIVE_INFINITY],
])('a version 1 quota of %j over %j allows %d cores', (quota, period, cores) => {
  const read = machine({
    '/proc/self/cgroup': '12:memory:/\n4:cpu,cpuacct:/\n',
    [`${V1}/cpu.cfs_quota_us`]: quota,
    [`${V1}/cpu.cfs_period_us`]: period,
  })
  expect(quotaCores(read)).toBe(cores)
})

const GROUPS = '/proc/self/cgroup'

test.each<[string, Record<string, string>, number]>([
  [
    'the quota of every ancestor binds, not only that of the group itself',
    {
      [GROUPS]: '0::/user.slice/app/job\n',
      [`${V2}/user.slice/app/job/cpu.max`]: '800000 100000',
      [`${V2}/user.slice/cpu.max`]: '300000 100000',
      [`${V2}/cpu.max`]: 'max 100000',
    },
    3,
  ],
  [
    'inside a container, where the group has another path, the visible root binds',
    { [GROUPS]: '0::/docker/0123abc\n', [`${V2}/cpu.max`]: '150000 100000' },
    1.5,
  ],
  [
    'on a machine with both versions the smaller quota binds',
    {
      [GROUPS]: '4:cpu,cpuacct:/a\n1:name=systemd:/a\n0::/a\n',
      [`${V1}/a/cpu.cfs_quota_us`]: '400000',
      [`${V1}/a/cpu.cfs_period_us`]: '100000',
      [`${V2}/a/cpu.max`]: '200000 100000',
    },
    2,
  ],
  [
    'a group path with a colon in it is read whole',
    { [GROUPS]: '0::/kubepods:pod1\n', [`${V2}/kubepods:pod1/cpu.max`]: '100000 100000' },
    1,
  ],
  [
    'lines that are not of the known form are passed over',
    { [GROUPS]: 'nonsense\n\n0::/a\n', [`${V2}/a/cpu.max`]: '100000 100000' },
    1,
  ],
])('%s', (_, files, cores) => {
  expect(quotaCores(machine(files))).toBe(cores)
})

test('other controllers are not asked, nor those whose name only begins alike', () => {
  const asked: string[] = []
  const read = (path: string) => {
    asked.push(path)
    return path === '/proc/self/cgroup' ? '3:cpuset:/a\n2:cpuacct:/b\n1:memory:/c\n' : undefined
  }
  expect(quotaCores(read)).toBe(Number.POSITIVE_INFINITY)
  expect(asked).toEqual(['/proc/self/cgroup'])
})

test('this process may use at least one core and at most those that there are', () => {
  vi.stubEnv(CORES_VARIABLE, undefined)
  expect(usableCores()).toBeGreaterThanOrEqual(1)
  expect(usableCores()).toBeLessThanOrEqual(availableParallelism())
  expect(Number.isInteger(usableCores())).toBe(true)
})

test('the environment variable overrides the number of cores', () => {
  for (const cores of ['1', '7']) {
    vi.stubEnv(CORES_VARIABLE, cores)
    expect(usableCores()).toBe(Number(cores))
  }
})

test('an environment variable that is no positive integer is passed over', () => {
  vi.stubEnv(CORES_VARIABLE, undefined)
  const unset = usableCores()
  for (const wrong of ['', '0', '-2', '1.5', 'many', 'Infinity']) {
    vi.stubEnv(CORES_VARIABLE, wrong)
    expect(usableCores()).toBe(unset)
  }
})
