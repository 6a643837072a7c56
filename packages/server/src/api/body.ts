/** Request bodies: JSON only, and only JSON that PostgreSQL and JavaScript can hold unchanged. */
import { isUtf8 } from 'node:buffer';
import { parse } from 'secure-json-parse';
import { CarillonError } from '../domain/error.ts';

const MAX_DEPTH = 64;

/** An escape that makes a NUL (PostgreSQL has no room for it) or a surrogate, which may stand alone. */
const SUSPECT_ESCAPE = /\\u(?:0000|[dD][89a-fA-F])/;

/**
 * Undefined for an empty body. Of duplicate keys the last one wins (RFC 8259 leaves it open).
 * Throws `malformed_json` for what is not JSON in UTF-8, and `invalid` with a pointer for JSON that is refused:
 * nesting over 64 levels, NUL, lone surrogates, and keys that reach for an object's prototype.
 */
export function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes)) throw new CarillonError('malformed_json', 'The body is not valid UTF-8.');
  const text = bytes.toString();
  const { value, hasForbiddenKey } = parseText(text);
  if (hasForbiddenKey || SUSPECT_ESCAPE.test(text)) refuse(value, strict);
  else if (mayBeDeep(text)) refuse(value, depthOnly);
  return value;
}

function parseText(text: string): { value: unknown; hasForbiddenKey: boolean } {
  try {
    return { value: parse(text) as unknown, hasForbiddenKey: false };
  } catch {
    try {
      return { value: JSON.parse(text), hasForbiddenKey: true };
    } catch (error) {
      // The rest of the message quotes the body, which may hold a secret.
      const [where] = /position \d+(?: \(line \d+ column \d+\))?/.exec((error as Error).message) ?? [];
      throw new CarillonError('malformed_json', where ? `The body stops being JSON at ${where}.` : 'The body is not valid JSON.', {
        cause: error,
      });
    }
  }
}

function mayBeDeep(text: string): boolean {
  let opened = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if ((code === 0x7b || code === 0x5b) && (opened += 1) > MAX_DEPTH) return true;
  }
  return false;
}

interface Rules {
  readonly string: (value: string) => readonly [code: string, detail: string] | undefined;
  readonly key: (key: string, value: unknown) => readonly [code: string, detail: string] | undefined;
}

const depthOnly: Rules = { string: () => undefined, key: () => undefined };
const strict: Rules = {
  string: (value) => {
    if (value.includes('\0')) return ['nul', 'NUL is not allowed.'];
    if (!value.isWellFormed()) return ['lone_surrogate', 'Half of a surrogate pair is not a character.'];
    return undefined;
  },
  key: (key, value) => {
    const reachesPrototype =
      key === '__proto__' || (key === 'constructor' && typeof value === 'object' && value !== null && Object.hasOwn(value, 'prototype'));
    return reachesPrototype ? ['forbidden_key', 'This key is not allowed.'] : strict.string(key);
  },
};

/** Walks the value and throws at the first place that breaks a rule. The depth is bounded, so recursion is safe. */
function refuse(root: unknown, rules: Rules): void {
  const at = (path: readonly string[], found: readonly [string, string] | undefined) => {
    if (!found) return;
    const [code, detail] = found;
    throw new CarillonError('invalid', 'The body has content that is not accepted.', {
      errors: [{ pointer: pointerOf(path), code, detail }],
    });
  };
  const visit = (value: unknown, path: string[]): void => {
    if (typeof value === 'string') at(path, rules.string(value));
    if (typeof value !== 'object' || value === null) return;
    if (path.length >= MAX_DEPTH) at(path, ['too_deep', `More than ${MAX_DEPTH} levels are not accepted.`]);
    for (const key of Object.keys(value)) {
      const child = (value as Record<string, unknown>)[key];
      path.push(key);
      if (!Array.isArray(value)) at(path, rules.key(key, child));
      visit(child, path);
      path.pop();
    }
  };
  visit(root, []);
}

/** RFC 6901. */
export function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
