/** Who is asking. API keys and user tokens, verified once and remembered for a few seconds per connection and key. */
import type { Socket } from 'node:net';
import { CarillonError } from '../domain/error.ts';
import type { RateLimit } from '../domain/tenant.ts';
import { makeLru } from '../lib/lru.ts';
import { atMost } from './overload.ts';

export const SCOPES = [
  'events:write',
  'events:read',
  'users:write',
  'users:read',
  'catalog:write',
  'catalog:read',
  'bounces:write',
  'destinations:write',
  'destinations:read',
  'keys:write',
  'operator',
] as const;
export type Scope = (typeof SCOPES)[number];

/** What a route asks for, in its `config.auth`. */
export type RouteAuth =
  | { readonly kind: 'key'; readonly scope: Scope }
  | { readonly kind: 'user' }
  /** A key with the scope, or the token of somebody who administers the account. */
  | { readonly kind: 'account'; readonly scope: Scope }
  | { readonly kind: 'none' };

/** The holder of an API key. */
export interface Caller {
  readonly tenantId: string;
  /** UUID. */
  readonly keyId: string;
  /** The key's name: counts are kept by it. */
  readonly client: string;
  readonly scopes: readonly string[];
  /** Their own, instead of the installation's. */
  readonly keyLimit: RateLimit | null;
  readonly tenantLimit: RateLimit | null;
  /** Since they were last written. */
  readonly counts: KeyCounts;
}

interface KeyCounts {
  requests: number;
  /** Accepted with this key, repeats not counted. */
  events: number;
}

/** The holder of a user token. */
export interface UserCaller {
  readonly tenantId: string;
  readonly userId: string;
  readonly expiresAt: Date;
}

export interface FoundKey extends Omit<Caller, 'counts'> {
  /** What is left by the database's clock; null: it does not expire. */
  readonly expiresInMs: number | null;
}

export interface KeyUse extends Readonly<KeyCounts> {
  readonly tenantId: string;
  readonly keyId: string;
}

export interface AuthDeps {
  readonly hashKey: (key: string) => Buffer;
  /** Undefined for keys that are unknown, revoked or expired. */
  readonly findKey: (hash: Buffer) => Promise<FoundKey | undefined>;
  /** The client that the proxy in front vouches for (access.ts). Not given: there is no such proxy. */
  readonly readAssertion?: ((assertion: string) => Promise<string | undefined>) | undefined;
  readonly verifyUserToken: (token: string) => Promise<UserCaller | undefined>;
  /** Active, and owner or admin of the account. */
  readonly isAccountAdmin: (user: UserCaller) => Promise<boolean>;
  /** Called in the background, each key once. What rejects is counted with the next ones. */
  readonly touchKeys: (uses: readonly KeyUse[]) => Promise<void>;
  readonly now: () => Date;
  readonly monotonicMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export interface Auth {
  /** Rejects with `unauthorized` for whatever is not a valid key, with `scope_missing` for a valid one without the scope. */
  readonly key: (request: Credentials, scope: Scope) => Caller | Promise<Caller>;
  readonly user: (request: Credentials) => UserCaller | Promise<UserCaller>;
  /** As `key`, or for a user token: `forbidden` unless its user is an admin right now. */
  readonly account: (request: Credentials, scope: Scope) => Caller | Promise<Caller | UserCaller>;
  /** Forgets what was verified: a key was revoked here. Other processes notice within `KEY_TTL_MS`. */
  readonly forget: () => void;
  /** Events that were accepted with this key. */
  readonly accepted: (caller: Caller, events: number) => void;
  /** Writes the last uses. */
  readonly close: () => Promise<void>;
}

export interface Credentials {
  readonly authorization: string | undefined;
  /** `Cf-Access-Jwt-Assertion`: counts where there is no `Authorization`. */
  readonly assertion?: string | undefined;
  /** Path and query. */
  readonly url: string;
  readonly socket: Socket;
}

const KEY_TTL_MS = 5_000;
const UNKNOWN_TTL_MS = 1_000;
const FLUSH_AFTER_MS = 5_000;
const MAX_KEYS = 10_000;
/** Requests that wait for the database to know their key. */
const MAX_LOOK_UPS = 1_000;
const MAX_LENGTH = 4_096;

/** A credential in the address ends in logs, histories and referrers, so it is not taken even when the header is right. */
const QUERY_CREDENTIAL = /[?&](?:api[_-]?key|access[_-]?token|auth|authorization|token)=|=cn_(?:live|test)_/i;

/** A user token, by its looks: no API key has these. */
const JWT = /^bearer +eyJ[\w-]+\.[\w-]+\.[\w-]+$/i;

interface Verified<T> {
  readonly value: T | undefined;
  readonly untilMs: number;
}

/** The same for missing, malformed, unknown, revoked and expired: an answer must not tell them apart. */
function unauthorized(): CarillonError {
  return new CarillonError('unauthorized', 'The credentials are missing or not valid.');
}

function refuseQuery({ url }: Credentials): void {
  if (url.includes('?') && QUERY_CREDENTIAL.test(url)) throw unauthorized();
}

/** The credential of `Authorization: Bearer` (RFC 6750). */
function bearer({ authorization }: Credentials): string {
  if (authorization === undefined || authorization.length > MAX_LENGTH) throw unauthorized();
  const token = /^bearer +([\x21-\x7e]+)$/i.exec(authorization)?.[1];
  if (token === undefined) throw unauthorized();
  return token;
}

/** What stands for a key that nobody holds. With a space: no `Authorization` can carry it. */
export function clientToken(clientId: string): string {
  return `access ${clientId}`;
}

function allow(found: Caller | undefined, scope: Scope): Caller {
  if (!found) throw unauthorized();
  if (!found.scopes.includes(scope)) throw new CarillonError('scope_missing', `This needs the scope \`${scope}\`.`);
  return found;
}

async function requireAdmin({ isAccountAdmin }: AuthDeps, verified: UserCaller | Promise<UserCaller>): Promise<UserCaller> {
  const user = await verified;
  if (await isAccountAdmin(user)) return user;
  throw new CarillonError('forbidden', 'Only an owner or admin of the account may do that.');
}

export function makeAuth(deps: AuthDeps): Auth {
  const keys = rememberKeys(deps);
  const uses = rememberUses(deps);
  let keyOf = new WeakMap<Socket, { authorization: string; verified: Verified<Caller> }>();
  const user = rememberUsers(deps);

  function admit(found: Caller | undefined, scope: Scope): Caller {
    const caller = allow(found, scope);
    uses.count(caller, 1, 0);
    return caller;
  }

  async function lookUp(token: string, request: Credentials, scope: Scope): Promise<Caller> {
    const verified = await keys.find(token);
    if (verified.value) keyOf.set(request.socket, { authorization: request.authorization ?? '', verified });
    return admit(verified.value, scope);
  }

  /** The proxy's connections carry many callers: nothing is remembered for a connection. */
  async function passProxy(assertion: string, scope: Scope): Promise<Caller> {
    const clientId = await deps.readAssertion?.(assertion);
    if (clientId === undefined) throw unauthorized();
    return admit((await keys.find(clientToken(clientId))).value, scope);
  }

  function key(request: Credentials, scope: Scope): Caller | Promise<Caller> {
    refuseQuery(request);
    const known = keyOf.get(request.socket);
    if (known && known.authorization === request.authorization && known.verified.untilMs > deps.monotonicMs())
      return admit(known.verified.value, scope);
    if (request.authorization === undefined && request.assertion !== undefined) return passProxy(request.assertion, scope);
    return lookUp(bearer(request), request, scope);
  }

  return {
    key,
    user,
    account: (request, scope) => (JWT.test(request.authorization ?? '') ? requireAdmin(deps, user(request)) : key(request, scope)),
    forget: () => {
      keys.forget();
      keyOf = new WeakMap();
    },
    accepted: (caller, events) => uses.count(caller, 0, events),
    close: () => uses.close(),
  };
}

/** A token that was verified on this connection a moment ago is not looked at again. */
function rememberUsers(deps: AuthDeps): Auth['user'] {
  const userOf = new WeakMap<Socket, { authorization: string; user: UserCaller; untilMs: number }>();

  async function verify(token: string, { socket, authorization }: Credentials): Promise<UserCaller> {
    const user = await deps.verifyUserToken(token);
    if (!user) throw unauthorized();
    const leftMs = user.expiresAt.getTime() - deps.now().getTime();
    userOf.set(socket, { authorization: authorization ?? '', user, untilMs: deps.monotonicMs() + Math.min(KEY_TTL_MS, leftMs) });
    return user;
  }

  return (request) => {
    refuseQuery(request);
    const known = userOf.get(request.socket);
    if (known && known.authorization === request.authorization && known.untilMs > deps.monotonicMs()) return known.user;
    return verify(bearer(request), request);
  };
}

/** Known and unknown keys apart, so that a flood of wrong ones can't push the right ones out. */
function rememberKeys({ hashKey, findKey, monotonicMs }: AuthDeps) {
  let known = makeLru<Verified<Caller>>(MAX_KEYS);
  let unknown = makeLru<Verified<Caller>>(MAX_KEYS);
  const lookUps = atMost(MAX_LOOK_UPS);
  const asked = new Map<string, Promise<Verified<Caller>>>();

  async function ask(hash: Buffer, name: string): Promise<Verified<Caller>> {
    const into = { known, unknown };
    const found = await findKey(hash);
    const ttlMs = found ? Math.min(KEY_TTL_MS, found.expiresInMs ?? KEY_TTL_MS) : UNKNOWN_TTL_MS;
    const verified = { value: found && { ...found, counts: { requests: 0, events: 0 } }, untilMs: monotonicMs() + ttlMs };
    (found ? into.known : into.unknown).set(name, verified);
    return verified;
  }

  return {
    find: (token: string): Promise<Verified<Caller>> => {
      const hash = hashKey(token);
      const name = hash.toString('base64');
      const verified = [known.get(name), unknown.get(name)].find((one) => one !== undefined && one.untilMs > monotonicMs());
      if (verified) return Promise.resolve(verified);
      let pending = asked.get(name);
      if (!pending) {
        pending = ask(hash, name).finally(() => asked.delete(name));
        asked.set(name, pending);
      }
      const found = pending;
      return lookUps(() => found);
    },
    forget: () => {
      known = makeLru(MAX_KEYS);
      unknown = makeLru(MAX_KEYS);
    },
  };
}

/** Counts what is done with each key, and writes it in one statement, a few seconds later. */
function rememberUses({ touchKeys, log }: AuthDeps) {
  let waiting = new Set<Caller>();
  let timer: NodeJS.Timeout | undefined;

  async function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const uses = sumsOf(waiting);
    waiting = new Set();
    if (uses.size === 0) return;
    try {
      await touchKeys([...uses.values()]);
    } catch (error) {
      log('api-keys.touch-failed', { error });
      for (const [caller, { requests, events }] of uses) count(caller, requests, events);
    }
  }

  function count(caller: Caller, requests: number, events: number): void {
    const { counts } = caller;
    if (counts.requests === 0 && counts.events === 0) {
      waiting.add(caller);
      timer ??= setTimeout(() => void flush(), FLUSH_AFTER_MS).unref();
    }
    counts.requests += requests;
    counts.events += events;
  }

  return { count, close: flush };
}

/** Takes the counts. A key that was looked up again meanwhile has several: they are one use, of whichever came first. */
function sumsOf(callers: Iterable<Caller>): Map<Caller, KeyUse> {
  const byKey = Map.groupBy(callers, ({ keyId }) => keyId);
  const uses = new Map<Caller, KeyUse>();
  for (const [first, ...others] of byKey.values()) {
    if (!first) continue;
    const { tenantId, keyId } = first;
    const use = { tenantId, keyId, requests: 0, events: 0 };
    for (const { counts } of [first, ...others]) {
      use.requests += counts.requests;
      use.events += counts.events;
      counts.requests = counts.events = 0;
    }
    uses.set(first, use);
  }
  return uses;
}
