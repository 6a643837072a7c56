/** What goes into a digest, when it closes, and what it then says. Pure: time, zones and patterns come as functions. */
import { MAX_DIGEST_MS, NO_DIGEST, type DueDigest, type WaitingItem } from '../domain/digest.ts';
import { SEVERITIES, type CarillonEvent, type DigestTimes, type EventRequest, type TypeDigest } from '../domain/event.ts';
import {
  verdictOf,
  type DigestWish,
  type Layer,
  type Person,
  type Preferences,
  type QuietUntil,
  type Subject,
} from '../domain/preference.ts';
import type { ReasonCode } from '../domain/reason.ts';
import { parseDuration } from '../lib/duration.ts';
import { absoluteLink, linkOf } from '../lib/link.ts';

/** Which digest something goes into, and how that one closes. */
export interface Into {
  /** What goes together. */
  readonly key: string;
  readonly times: DigestTimes;
}

/** The first moment after `at` that the pattern names in that zone; null when there is none. */
export type NextRun = (rule: { readonly cron: string; readonly timeZone: string }, after: Date) => Date | null;

const DEFAULT_ZONE = 'UTC';
const SECOND_MS = 1_000;

/**
 * The person says how long to wait, the event type what goes together. Without a word of the person the type says both; without
 * one of the type everything goes together that the person's own word is about. What is critical or urgent never waits.
 * With a throttle that collects what is over its limit, the type's digest is for that alone.
 */
export function digestOf(
  subject: Subject,
  { digest: type, throttle }: Pick<EventRequest, 'digest' | 'throttle'>,
  wish: DigestWish | undefined,
): Into | null {
  if (subject.critical || subject.severity === 'urgent' || wish?.value === NO_DIGEST) return null;
  if (!wish) return type && throttle?.over !== 'digest' ? { key: keyOf(subject, type), times: type } : null;
  return { key: type ? keyOf(subject, type) : groupOf(wish.layer, subject), times: { every_ms: parseDuration(wish.value) } };
}

/** Where what is over the limit of its type's throttle goes: as its digest says, else as long as the window is. Null: it is skipped. */
export function overLimit({ type, request: { throttle, digest } }: Pick<CarillonEvent, 'type' | 'request'>): Into | null {
  if (throttle?.over !== 'digest') return null;
  return { key: keyOf({ type }, digest), times: digest ?? { every_ms: throttle.window_seconds * SECOND_MS } };
}

/** Types that say the same key share a digest. */
function keyOf({ type }: Pick<Subject, 'type'>, { key }: TypeDigest = {}): string {
  return key === undefined ? `type ${type}` : `key ${key}`;
}

function groupOf(layer: Layer, { type, category }: Subject): string {
  if (layer.endsWith('event_type')) return `type ${type}`;
  return layer.endsWith('category') && category !== null ? `category ${category}` : 'channel';
}

/** Of a digest whose first item comes now. No pattern keeps it open for longer than the longest interval. */
export function closingTime(
  { every_ms: everyMs, cron }: DigestTimes,
  { zone, at }: { zone: string | null; at: Date },
  nextRun: NextRun,
): Date {
  const latest = new Date(at.getTime() + Math.min(everyMs ?? MAX_DIGEST_MS, MAX_DIGEST_MS));
  const next = cron === undefined ? null : nextRun({ cron, timeZone: zone ?? DEFAULT_ZONE }, at);
  return next !== null && next < latest ? next : latest;
}

export interface ClosingContext {
  readonly now: Date;
  /** Undefined when there is no such user any more. */
  readonly person: Person | undefined;
  readonly defaults: Preferences | undefined;
  readonly quietUntil: QuietUntil;
}

export interface Dropped {
  readonly item: WaitingItem;
  readonly state: 'skipped' | 'expired';
  readonly reason: ReasonCode;
}

/** What a digest that is due becomes. */
export interface Closing {
  readonly dropped: readonly Dropped[];
  /** In the order of their events. */
  readonly kept: readonly WaitingItem[];
  /** All that is kept would be held until then: the digest is, too. */
  readonly heldUntil: Date | null;
}

/** Each item is looked at as if it were sent now. One that may be sent in quiet hours takes the others along. */
export function closing(digest: Pick<DueDigest, 'channel' | 'address'>, items: readonly WaitingItem[], context: ClosingContext): Closing {
  const dropped: Dropped[] = [];
  const kept: { readonly item: WaitingItem; readonly until: Date | null }[] = [];
  for (const item of items) {
    const answer = answerOf(digest, item, context);
    if ('reason' in answer) dropped.push({ item, ...answer });
    else kept.push({ item, until: answer.until });
  }
  const waits = kept.flatMap(({ until }) => until?.getTime() ?? []);
  const held = kept.length > 0 && waits.length === kept.length;
  return {
    dropped,
    kept: kept.map(({ item }) => item),
    heldUntil: held ? new Date(Math.min(...waits)) : null,
  };
}

function answerOf(
  { channel, address }: Pick<DueDigest, 'channel' | 'address'>,
  item: WaitingItem,
  { now, person, defaults, quietUntil }: ClosingContext,
): Omit<Dropped, 'item'> | { readonly until: Date | null } {
  if (!person) return { state: 'skipped', reason: 'user_unknown' };
  if (item.expiresAt !== null && item.expiresAt <= now) return { state: 'expired', reason: 'expired' };
  const verdict = verdictOf(person, { ...subjectOf(item), channel, address }, { defaults, quietUntil });
  if (verdict.kind === 'stop') return { state: 'skipped', reason: verdict.reason };
  if (item.onlyIfUnread && item.seen) return { state: 'skipped', reason: 'read_elsewhere' };
  return { until: verdict.kind === 'hold' ? verdict.until : null };
}

function subjectOf({ type, category, severity, tags, critical }: WaitingItem): Subject {
  return { type, category, severity, tags, critical };
}

/** What the message says where no template does. */
interface DigestText {
  readonly subject: string;
  readonly body: string;
}

export interface Wording {
  /** Texts of a few lines only, as in a text message: subjects and nothing else. */
  readonly brief: boolean;
  /** `2026-03-29 09:00`, as the reader's clock shows it. */
  readonly clock: (at: Date) => string;
  /** Of the tenant; links that are paths are left out without one. */
  readonly baseUrl: string | null;
}

export function wordsOf(items: readonly WaitingItem[], { brief, clock, baseUrl }: Wording): DigestText {
  const [only] = items;
  const subject = items.length === 1 && only ? titleOf(only) : `${items.length} notifications`;
  const lines = items.map((item) => (brief ? `• ${titleOf(item)}` : whole(item, clock, baseUrl)));
  return { subject, body: lines.join(brief ? '\n' : '\n\n') };
}

function titleOf({ subject, type }: WaitingItem): string {
  return subject === '' ? type : subject;
}

function whole(item: WaitingItem, clock: Wording['clock'], baseUrl: string | null): string {
  const link = item.actionUrl === null ? null : absoluteLink(item.actionUrl, baseUrl);
  const about = [clock(item.at), linkOf(link)].filter((part) => part !== undefined).join(' · ');
  return [`• ${titleOf(item)}`, item.body.trim(), about].filter((line) => line !== '').join('\n');
}

/** Whose templates may say it instead: the newest version among them, when all are of one type. */
export function versionOf(items: readonly WaitingItem[]): string | null {
  const last = items.at(-1);
  return last && items.every(({ type }) => type === last.type) ? last.version : null;
}

/** How heavy the message is, and under which tags. */
export function weightOf(items: readonly WaitingItem[]): Pick<CarillonEvent, 'severity' | 'tags' | 'expiresAt'> {
  const heaviest = items.reduce<WaitingItem | undefined>(
    (most, item) => (most && SEVERITIES[most.severity] >= SEVERITIES[item.severity] ? most : item),
    undefined,
  );
  const expiries = items.flatMap(({ expiresAt }) => (expiresAt ? [expiresAt.getTime()] : []));
  return {
    severity: heaviest?.severity ?? 'medium',
    tags: [...new Set(items.flatMap(({ tags }) => tags))].slice(0, MAX_TAGS),
    // With the first item that may not be sent any more: a new message is then made of the others.
    expiresAt: expiries.length > 0 ? new Date(Math.min(...expiries)) : null,
  };
}

const MAX_TAGS = 32;
