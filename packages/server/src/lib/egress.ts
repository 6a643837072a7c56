/**
 * The one client for everything that leaves. Addresses are checked when a URL is taken and again
 * when connecting: the address that was checked is the address connected to.
 */
import { type LookupAddress, lookup as dnsLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { buildConnector, type Dispatcher, Pool } from 'undici';
import { onAbort, reasonOf } from './abort.ts';
import { type AddressPolicy, type AddressRules, addressRefusal, addressRules } from './address.ts';
import { collectAnswer, type EgressResponse } from './egress-answer.ts';
import { judgeUrl } from './egress-url.ts';
import { type Lru, makeLru } from './lru.ts';

export type { EgressResponse } from './egress-answer.ts';

export type EgressErrorKind = 'blocked' | 'timeout' | 'unreachable';

export class EgressError extends Error {
  override readonly name = 'EgressError';
  readonly kind: EgressErrorKind;
  /** The whole request had been handed to the connection: it may have arrived, and the answer is unknown. */
  readonly bodySent: boolean;

  constructor(kind: EgressErrorKind, message: string, bodySent: boolean) {
    super(message);
    this.kind = kind;
    this.bodySent = bodySent;
  }
}

export interface EgressRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
  /** For this one, instead of the client's; never longer than that. */
  readonly timeoutMs?: number | undefined;
  /** Of the answer's text, when 4 KiB are too few; never more than the client reads. */
  readonly keepBytes?: number | undefined;
}

export interface Egress {
  /** Why this URL would be refused before DNS is asked, or undefined. */
  readonly refusal: (url: string) => string | undefined;
  /**
   * One request, one answer; redirects are answers. Rejects with an EgressError, or with the reason
   * of `signal` when that was aborted.
   */
  readonly request: (url: string, request: EgressRequest) => Promise<EgressResponse>;
  /** Waits for what is in flight, at most `totalTimeoutMs`. */
  readonly close: () => Promise<void>;
}

type LookupAll = (host: string, callback: (error: Error | null, addresses?: LookupAddress[]) => void) => void;

export interface EgressOptions extends AddressPolicy {
  /** From the call to the last byte of the answer, waiting for a connection included. */
  readonly totalTimeoutMs: number;
  /** Name, TCP and TLS together. */
  readonly connectTimeoutMs: number;
  /** The answer is read so far and no further; what is left unread costs the connection. */
  readonly maxResponseBytes: number;
  /** Pools kept open; the one not used for the longest is closed first. */
  readonly maxOrigins?: number;
  /** Additional certificate authorities, PEM. */
  readonly ca?: string | undefined;
  /** Default: `dns.lookup`, so that /etc/hosts counts. */
  readonly lookup?: LookupAll;
}

const KEEP_ALIVE_MS = 10_000;
const CONNECTIONS_PER_ORIGIN = 64;
const MAX_ORIGINS = 1024;
const MAX_TARGETS = 4096;

/** A URL that was looked at: where it leads, or why not. */
type Target = { readonly origin: string; readonly path: string } | { readonly refusal: string };

/** Throws when a range in `allowRanges` is not a CIDR. */
export function makeEgress(options: EgressOptions): Egress {
  const rules = addressRules(options);
  const targets = makeLru<Target>(MAX_TARGETS);
  const pools = makePools(options, guardedConnector(rules, options));

  function targetOf(text: string): Target {
    const known = targets.get(text);
    if (known !== undefined) return known;
    const verdict = judgeUrl(text, rules);
    const target = verdict.ok
      ? { origin: verdict.url.origin, path: verdict.url.pathname + verdict.url.search }
      : { refusal: verdict.reason };
    targets.set(text, target);
    return target;
  }

  function refusal(url: string): string | undefined {
    const target = targetOf(url);
    return 'refusal' in target ? target.refusal : undefined;
  }

  async function request(url: string, wanted: EgressRequest): Promise<EgressResponse> {
    if (wanted.signal?.aborted) throw reasonOf(wanted.signal);
    const target = targetOf(url);
    if ('refusal' in target) throw new EgressError('blocked', target.refusal, false);
    return exchange(pools.of(target.origin), target.path, wanted, options);
  }

  return { refusal, request, close: pools.close };
}

interface Pools {
  readonly of: (origin: string) => Pool;
  readonly close: () => Promise<void>;
}

/** undici's Agent refuses a new origin when it has too many; here the oldest pool makes room. */
function makePools({ maxOrigins = MAX_ORIGINS, maxResponseBytes }: EgressOptions, connect: buildConnector.connector): Pools {
  const retiring = new Set<Promise<void>>();
  let closed = false;
  const open: Lru<Pool> = makeLru(maxOrigins, retire);

  function retire(pool: Pool): void {
    const done = pool.close().finally(() => retiring.delete(done));
    retiring.add(done);
  }

  function of(origin: string): Pool {
    if (closed) throw new Error('the egress client is closed');
    const known = open.get(origin);
    if (known !== undefined) return known;
    const pool = new Pool(origin, {
      connect,
      connections: CONNECTIONS_PER_ORIGIN,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS, // a receiver's own wish may be shorter, not longer
      headersTimeout: 0, // one deadline covers the whole exchange
      bodyTimeout: 0,
      maxResponseSize: maxResponseBytes + 64 * 1024, // a second net; `exchange` stops first
    });
    open.set(origin, pool);
    return pool;
  }

  async function close(): Promise<void> {
    closed = true;
    for (const pool of open.values()) if (!pool.closed) retire(pool);
    await Promise.all(retiring);
  }

  return { of, close };
}

function guardedConnector(rules: AddressRules, options: EgressOptions): buildConnector.connector {
  const lookup = guardedLookup(rules, options.lookup ?? ((host, callback) => dnsLookup(host, { all: true }, callback)));
  const connect = buildConnector({
    allowH2: false,
    timeout: options.connectTimeoutMs,
    lookup,
    autoSelectFamily: true,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  });
  return (target, callback) => {
    // A socket never asks `lookup` about a literal.
    const reason = isIP(target.hostname) === 0 ? undefined : addressRefusal(target.hostname, rules);
    if (reason === undefined) connect(target, callback);
    else callback(new EgressError('blocked', `the host is ${reason}`, false), null);
  };
}

/** One bad address among the answers blocks the name: which of them is dialled is not ours to choose. */
function guardedLookup(rules: AddressRules, lookup: LookupAll): LookupFunction {
  return (host, options, callback) => {
    lookup(host, (error, addresses = []) => {
      const [first] = addresses;
      const reason = firstRefusal(addresses, rules);
      if (error !== null || first === undefined) callback(error ?? new Error('the name has no address'), []);
      else if (reason !== undefined) callback(new EgressError('blocked', `the name leads to ${reason}`, false), []);
      else if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

function firstRefusal(addresses: readonly LookupAddress[], rules: AddressRules): string | undefined {
  for (const { address } of addresses) {
    const reason = addressRefusal(address, rules);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** undici calls this when the last byte of the request has been written; its types leave it out. */
interface Handler extends Dispatcher.DispatchHandler {
  readonly onRequestSent: () => void;
}

/** `dispatch` instead of `request`: it says when the request has left, and costs no stream per answer. */
function exchange(pool: Pool, path: string, wanted: EgressRequest, limits: EgressOptions): Promise<EgressResponse> {
  const { method, headers, body, signal } = wanted;
  return new Promise((resolve, reject) => {
    const answer = collectAnswer(limits.maxResponseBytes, wanted.keepBytes);
    let controller: Dispatcher.DispatchController | undefined;
    let bodySent = false;
    let settled = false;
    const timeoutMs = Math.min(wanted.timeoutMs ?? limits.totalTimeoutMs, limits.totalTimeoutMs);
    const late = () => fail(new EgressError('timeout', `no complete answer within ${timeoutMs} ms`, bodySent));
    const timer = setTimeout(late, timeoutMs);
    const forget = signal && onAbort(signal, fail);

    function settle(): boolean {
      if (settled) return false;
      settled = true;
      clearTimeout(timer);
      forget?.();
      return true;
    }
    function fail(error: Error): void {
      if (!settle()) return;
      reject(error);
      controller?.abort(error);
    }
    function finish(): void {
      if (settle()) resolve(answer.read());
    }

    const handler: Handler = {
      onRequestStart: (started) => {
        controller = started;
        if (settled) started.abort(new Error('given up while waiting for a connection'));
      },
      onRequestSent: () => {
        bodySent = true;
      },
      onResponseStart: (_, status, answered) => answer.begin(status, answered),
      onResponseData: (reading, chunk) => {
        if (answer.add(chunk)) return;
        finish();
        reading.abort(new Error('the rest of the answer is not wanted'));
      },
      onResponseEnd: finish,
      onResponseError: (_, error) => fail(asEgressError(error, bodySent)),
    };
    pool.dispatch({ method, path, headers, body }, handler);
  });
}

/** undici's own complaints about arguments stay what they are: a bug of ours, not of the far end. */
function asEgressError(error: Error & { code?: string }, bodySent: boolean): Error {
  if (error instanceof EgressError) return new EgressError(error.kind, error.message, bodySent);
  if (error.code === 'UND_ERR_INVALID_ARG') return error;
  if (error.code === 'UND_ERR_CONNECT_TIMEOUT') return new EgressError('timeout', 'no connection in time', bodySent);
  const message = error.message || 'the connection failed'; // an AggregateError of several addresses has none
  return new EgressError('unreachable', error.code === undefined ? message : `${error.code}: ${message}`, bodySent);
}
