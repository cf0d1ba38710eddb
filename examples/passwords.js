// Passwords: a handler module for pipes. Hashing a password is meant to be slow; with one thread per
// core a list of them takes a fraction of the time.
// @ts-check

import { createHash, scryptSync, timingSafeEqual } from 'node:crypto'

const KEY_BYTES = 32

/**
 * Hashes a password with scrypt.
 *
 * @param {{ user: string, password: string }} payload
 */
export function hash({ user, password }) {
  // A salt made from the user's name keeps this example repeatable; a real one is random.
  const salt = createHash('sha256').update(user).digest('base64url')
  return { user, salt, hash: scryptSync(password, salt, KEY_BYTES).toString('base64url') }
}

/**
 * Checks a password against what {@link hash} returned.
 *
 * @param {{ password: string, salt: string, hash: string }} payload
 */
export function verify({ password, salt, hash }) {
  const expected = Buffer.from(hash, 'base64url')
  return timingSafeEqual(scryptSync(password, salt, expected.length), expected)
}
