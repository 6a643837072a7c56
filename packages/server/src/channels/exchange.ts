/** One request to a provider's HTTP interface, and its answer as a result. Shared by the channels that post JSON or forms. */
import type { SendResult } from '../domain/channel.ts';
import { type Egress, EgressError, type EgressResponse } from '../lib/egress.ts';
import { parseRetryAfter } from '../lib/retry-after.ts';

export interface ExchangeDeps {
  readonly request: Egress['request'];
  readonly now: () => Date;
}

export interface Exchange {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
  /** Whatever of it a far end repeats is not kept. */
  readonly secrets: readonly string[];
  /** What the provider says besides its status; undefined: as the status says. */
  readonly judge: (answer: EgressResponse) => Judgement | undefined;
}

/** `accepted`, or a refusal that the status alone does not tell. */
export type Judgement =
  | { readonly kind: 'accepted'; readonly providerId?: string | undefined }
  | { readonly kind: 'permanent'; readonly reason: 'address_gone' | 'address_rejected' | 'content_rejected' | 'unauthorized' }
  | { readonly kind: 'transient'; readonly reason: 'provider_error' | 'rate_limited'; readonly retryAfterMs?: number | undefined };

/** Chat services answer in two seconds or not at all. */
const TIMEOUT_MS = 10_000;
const MAX_DETAIL_CHARS = 200;
const CUT = '***';

export async function exchange(deps: ExchangeDeps, wanted: Exchange, signal: AbortSignal): Promise<SendResult> {
  const { url, body, secrets, judge } = wanted;
  const headers = { 'content-type': 'application/json', 'user-agent': 'Carillon', ...wanted.headers };
  try {
    const answer = await deps.request(url, { method: 'POST', headers, body, signal, timeoutMs: TIMEOUT_MS });
    return toResult(judge(answer) ?? byStatus(answer, deps.now()), answer, scrubber(secrets));
  } catch (error) {
    if (error instanceof EgressError) return fromEgressError(error);
    throw error; // the abort's reason, or a bug
  }
}

export function fromEgressError({ kind, bodySent, message }: EgressError): SendResult {
  if (kind === 'blocked') return { kind: 'permanent', reason: 'egress_blocked', detail: message };
  return { kind: bodySent ? 'unknown' : 'transient', reason: kind, detail: message };
}

type StatusJudgement = Judgement | { readonly kind: 'transient'; readonly reason: 'unauthorized'; readonly retryAfterMs?: undefined };

/** A refusal of credentials or of an address is tried again, because somebody may mend it meanwhile; only what can't change is final. */
function byStatus({ status, headers }: EgressResponse, now: Date): StatusJudgement {
  const retryAfterMs = parseRetryAfter(headers['retry-after'], now);
  if (status === 410) return { kind: 'permanent', reason: 'address_gone' };
  if (status === 413) return { kind: 'permanent', reason: 'content_rejected' };
  if (status === 429) return { kind: 'transient', reason: 'rate_limited', retryAfterMs };
  if (status === 401 || status === 403) return { kind: 'transient', reason: 'unauthorized' };
  return { kind: 'transient', reason: 'provider_error', retryAfterMs };
}

function toResult(judged: StatusJudgement, { status, body }: EgressResponse, scrub: (text: string) => string): SendResult {
  const response = scrub(body);
  if (judged.kind === 'accepted') return { ...judged, status, response };
  const said = response.trim().slice(0, MAX_DETAIL_CHARS).toWellFormed();
  return { ...judged, status, response, detail: said === '' ? `HTTP ${status}` : `HTTP ${status}: ${said}` };
}

/** Also as a URL would spell them. The longest first: one may be part of another. */
function scrubber(secrets: readonly string[]): (text: string) => string {
  const spelled = [...new Set(secrets.flatMap((secret) => [secret, encodeURIComponent(secret)]))]
    .filter((secret) => secret.length > 3)
    .sort((a, b) => b.length - a.length);
  return (text) => spelled.reduce((rest, secret) => rest.replaceAll(secret, CUT), text);
}

/** Whoever knows the URL of an incoming webhook may post there: its path is the secret. */
export function urlSecrets(url: string): string[] {
  const parsed = URL.parse(url);
  return parsed ? [url, parsed.pathname + parsed.search, parsed.pathname, parsed.search].filter((part) => part !== '/') : [url];
}

/** The JSON of an answer, or undefined. */
export function readJson(body: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
