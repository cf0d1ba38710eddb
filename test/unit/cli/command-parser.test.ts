// Command parser: what a line may say and how it is refused.

import { expect, test } from 'vitest'
import { type CommandDefaults, parseCommand } from '../../../src/cli/command-parser.ts'

const DEFAULTS: CommandDefaults = {
  type: undefined,
  lane: 'query',
  keyPath: undefined,
  groupPath: undefined,
  lineBytesMax: 1000,
}

function parse(value: unknown, defaults: Partial<CommandDefaults> = {}) {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const line = { number: 12, text, bytes: text.length + 1, fault: undefined }
  return parseCommand(line, { ...DEFAULTS, ...defaults })
}

test('a whole command is taken as it is', () => {
  const names = { lane: 'l', key: 'k', group: 'g' }
  const command = { id: 'a', type: 't', payload: [1], ...names, priority: 3 }
  expect(parse(command)).toEqual(command)
})

test('what a line leaves out, or gives as null, comes from the defaults', () => {
  const expected = {
    id: 12,
    type: 't',
    payload: undefined,
    lane: 'query',
    key: undefined,
    group: undefined,
    priority: undefined,
  }
  expect(parse({}, { type: 't' })).toEqual(expected)
  const nulls = { id: null, type: null, lane: null, key: null, group: null, priority: null }
  expect(parse(nulls, { type: 't' })).toEqual(expected)
  expect(parse({ payload: null }, { type: 't' })).toMatchObject({ payload: null })
})

test.each([
  ['a string', '"x"', 'line 12 is "x"; allowed: a JSON object'],
  ['null', 'null', 'line 12 is null; allowed: a JSON object'],
  ['an array', '[]', 'line 12 is an array of 0; allowed: a JSON object'],
  ['no JSON', '{', 'line 12 is "{"; allowed: a JSON object'],
  ['no type', '{}', 'type is missing; allowed: a non-empty string'],
  ['an empty type', { type: '' }, 'type is ""; allowed: a non-empty string'],
  ['a lane that is a number', { type: 't', lane: 5 }, 'lane is 5; allowed: a non-empty string'],
  ['a key that is a number', { type: 't', key: 5 }, 'key is 5; allowed: a string'],
  ['a group that is a number', { type: 't', group: 5 }, 'group is 5; allowed: a string'],
  ['an id that is an object', { id: {}, type: 't' }, 'id is an object; allowed: a string, or'],
  ['an id that JSON rounds', '{"id":9007199254740993}', 'id is 9007199254740992; allowed'],
  ['a member too many', { type: 't', lanes: 1 }, 'lanes is not a member of a command; allowed: id'],
  ['a member named __proto__', '{"type":"t","__proto__":{}}', '__proto__ is not a member'],
])('a line with %s is refused', (_what, text, message) => {
  const refused = parse(text)
  expect(refused).toHaveProperty('refusal.code', 'CORELANE_INVALID_COMMAND')
  expect('refusal' in refused && refused.refusal.message).toContain(message)
})

test('a refused line keeps its id where that could be read', () => {
  expect(parse({ id: 'x' })).toMatchObject({ id: 'x' })
  expect(parse('{')).toMatchObject({ id: null })
})

test.each<[string, string, unknown, string]>([
  ['a member of the payload', 'user', { payload: { user: 'u' } }, 'u'],
  ['a member of a member', 'user.id', { payload: { user: { id: 5 } } }, '5'],
  ['an element', 'users.1', { payload: { users: ['a', 'b'] } }, 'b'],
  ['a boolean', 'flag', { payload: { flag: false } }, 'false'],
  ['a member of the line', 'id', { id: 'i', payload: 3 }, 'i'],
  ['the payload before the line', 'id', { id: 'i', payload: { id: 'p' } }, 'p'],
  ['the line where the payload has null', 'id', { id: 'i', payload: { id: null } }, 'i'],
  ['the whole payload', 'payload', { payload: 'p' }, 'p'],
])('the path of a key or a group finds %s', (_what, path, members, found) => {
  const line = { type: 't', ...(members as object) }
  expect(parse(line, { keyPath: path.split('.') })).toMatchObject({ key: found })
  expect(parse(line, { groupPath: path.split('.') })).toMatchObject({ group: found })
})

test.each([
  ['nothing', {}, 'user.id is missing'],
  ['an object', { user: { id: {} } }, 'user.id is an object'],
  ['an empty string', { user: { id: '' } }, 'user.id is ""'],
  ['what only the prototype has', { user: 'text' }, 'user.id is missing'],
])('the path of a key or a group that finds %s is refused', (_what, payload, message) => {
  for (const path of ['keyPath', 'groupPath']) {
    const refused = parse({ type: 't', payload }, { [path]: ['user', 'id'] })
    const text = 'refusal' in refused && refused.refusal.message
    expect(text).toContain(message)
    expect(text).toContain(`for --${path.slice(0, -4)}`)
  }
})
