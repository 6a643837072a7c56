/** Events that address a set of users: the next of them, and what telling them has come to. */
import { NO_CHANNEL } from '../domain/channel.ts';
import type { AudienceCounts, CarillonEvent, InlineUser, Tx } from '../domain/event.ts';
import type { MadeText } from '../domain/event-type.ts';
import type { Recipient } from '../domain/user.ts';
import type { Addressee } from './decide.ts';
import type { Audience } from './recipients.ts';
import type { Decided } from './suppression.ts';

/** Users of an audience that are routed in one transaction. */
export const CHUNK = 1_000;

export interface AudienceDeps {
  /** Loads the users named here, and makes those that do not exist yet where the installation wants that. */
  readonly recipients: (tx: Tx, keys: readonly { tenantId: string; userId: string }[]) => Promise<ReadonlyMap<string, Recipient>>;
  readonly audience: (tx: Tx, query: AudienceQuery) => Promise<readonly Recipient[]>;
  /** How many users there are in it now. */
  readonly audienceSize: (tx: Tx, query: Omit<AudienceQuery, 'after' | 'limit'>) => Promise<number>;
}

export interface AudienceQuery extends Audience {
  readonly tenantId: string;
  readonly named: readonly string[];
  readonly after: string | null;
  readonly limit: number;
}

/** Where routing of an event stands after this transaction. */
export interface Step {
  readonly id: string;
  readonly state: 'routed' | 'expired' | 'accepted';
  /** Of a set of users, the last one that was decided on. */
  readonly cursor: string | null;
  /** Of a set of users: how many there are, where that was counted. Undefined for every other event. */
  readonly size?: number | null;
}

/** `counts`: of this chunk. */
export interface Progress extends Step {
  readonly counts?: AudienceCounts;
}

interface Chunk {
  readonly addressees: readonly Addressee[];
  /** Null: these are the last. */
  readonly upTo: string | null;
  readonly size: number | null;
}

interface Addressed {
  readonly event: CarillonEvent;
  readonly named: ReadonlyMap<string, InlineUser | undefined>;
  readonly audience: Audience;
}

/** The next users, in the order of their ids. The cursor moves in the transaction that tells them. */
export async function nextChunk(deps: AudienceDeps, tx: Tx, { event, named, audience }: Addressed): Promise<Chunk> {
  const { tenantId, cursor } = event;
  const ids = [...named.keys()];
  if (cursor === null && ids.length > 0) {
    const keys = ids.map((userId) => ({ tenantId, userId }));
    await deps.recipients(tx, keys);
  }
  const query = { ...audience, tenantId, named: ids, after: cursor, limit: CHUNK };
  const users = await deps.audience(tx, query);
  const upTo = users.length < CHUNK ? null : (users.at(-1)?.id ?? null);
  const found = new Set(users.map((user) => user.id));
  const unknown = ids.filter((userId) => !found.has(userId) && isBetween(userId, cursor, upTo));
  return {
    addressees: [
      ...users.map((user) => ({ userId: user.id, user, inline: named.get(user.id) })),
      ...unknown.map((userId) => ({ userId, user: undefined, inline: undefined })),
    ],
    upTo,
    size: cursor === null && upTo !== null ? await deps.audienceSize(tx, query) : null, // the others of an event know it already
  };
}

/** Above `after` and not above `upTo`; null: no bound. As the database compares ids, by bytes. */
function isBetween(id: string, after: string | null, upTo: string | null): boolean {
  return (after === null || byBytes(id, after) > 0) && (upTo === null || byBytes(id, upTo) <= 0);
}

function byBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** Events without a set of users stay as they are. */
export function withCounts(
  steps: readonly Step[],
  decided: readonly Decided[],
  texts: ReadonlyMap<Decided, MadeText>,
): readonly Progress[] {
  if (!steps.some(({ size }) => size !== undefined)) return steps;
  const byEvent = Map.groupBy(decided, ({ event }) => event.id);
  return steps.map((step) => (step.size === undefined ? step : { ...step, counts: countsOf(byEvent.get(step.id) ?? [], texts) }));
}

function countsOf(decided: readonly Decided[], texts: ReadonlyMap<Decided, MadeText>): AudienceCounts {
  const counts = { created: 0, failed: 0, throttled: 0, skipped: 0 };
  for (const one of decided) counts[kindOf(one, texts.get(one))]++;
  return counts;
}

/** What a preference stops on every channel is a notification all the same. */
function kindOf({ decisions }: Decided, text: MadeText | undefined): keyof AudienceCounts {
  if (text?.ok === false) return 'failed';
  const dropped = decisions.find(({ channel }) => channel === NO_CHANNEL);
  if (dropped?.kind !== 'skip') return 'created';
  if (dropped.reason === 'decision_failed') return 'failed';
  return dropped.reason === 'throttled' ? 'throttled' : 'skipped';
}
