/** Digests, wired: what is due is closed, and what became of a message is told to its items. Part of the composition root. */
import type { Registry } from './channels/registry.ts';
import type { Config } from './config.ts';
import type { Completion, DeliveryJob } from './domain/delivery.ts';
import { DIGEST_TYPE } from './domain/digest.ts';
import type { Tx } from './domain/event.ts';
import type { QuietHours } from './domain/quiet-hours.ts';
import { localOf } from './lib/zone.ts';
import type { Hints } from './realtime/hints.ts';
import { closeDigests, type Closed, type ClosingDeps } from './router/closing.ts';
import type { When } from './router/quiet-hours.ts';
import { isUnavailable, type Database } from './store/database.ts';
import { insertDeliveries } from './store/deliveries.ts';
import { settleDigests, sweepDigests, unsettledAfter, type MessageKey } from './store/digest-outcomes.ts';
import { beginItems, claimDigests, closeRows, dropItems, holdDigests, itemsOfDigests, postponeDigest } from './store/digests.ts';
import { insertEvents } from './store/events.ts';
import { insertNotifications } from './store/notifications.ts';
import type { Defaults } from './store/preferences.ts';
import { recipientsFor } from './store/recipients.ts';
import type { Chore } from './scheduler/scheduler.ts';
import type { Log } from './telemetry/log.ts';

export interface DigestDeps {
  readonly database: Database;
  readonly channels: Registry;
  readonly defaults: Defaults;
  readonly quietUntil: (hours: QuietHours, when: When) => Date | null;
  readonly config: Pick<Config, 'retention.days'>;
  readonly hints: Hints;
  readonly log: Log;
}

/** What the worker's outcomes mean for digests. Costs nothing while none of its deliveries is the message of one. */
export interface DigestOutcomes {
  readonly leased: (jobs: readonly DeliveryJob[]) => void;
  /** Never rejects: what fails is left to `run`. */
  readonly ended: (rows: readonly Completion[]) => Promise<void>;
}

const SETTLED_AT_ONCE = 200;
const SWEEP_ROWS = 1_000;
const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';
/** Messages that wait in a lane for longer are settled by the sweep. */
const MAX_KNOWN = 50_000;

export function makeDigestOutcomes({ database, log }: Pick<DigestDeps, 'database' | 'log'>): DigestOutcomes {
  const messages = new Set<string>();
  return {
    leased: (jobs) => {
      for (const { id, event } of jobs) if (event.type === DIGEST_TYPE && messages.size < MAX_KNOWN) messages.add(id);
    },
    ended: async (rows) => {
      if (messages.size === 0) return;
      const ended = rows.filter(({ id }) => messages.delete(id)).filter(({ state }) => state !== 'pending' && state !== 'held');
      if (ended.length === 0) return;
      try {
        await settle(
          database,
          ended.map(({ tenantId, id }) => ({ tenantId, deliveryId: id })),
        );
      } catch (error) {
        log('digests.settle-failed', { error });
      }
    },
  };
}

function settle(database: Database, messages: readonly MessageKey[]): Promise<number> {
  return database.transaction((tx) => settleDigests(tx, messages));
}

export function digestChores(deps: DigestDeps, wake: () => void): Chore[] {
  const { database, config } = deps;
  const sweep = async () => {
    while ((await sweepDigests(database.engine, { limit: SWEEP_ROWS, days: config['retention.days'] })) === SWEEP_ROWS);
  };
  return [
    { name: 'digests', everyMs: SECOND_MS, run: runnerOf(deps, wake) },
    { name: 'digests-kept', everyMs: HOUR_MS, run: sweep },
  ];
}

/** Settles what a killed process, a cancellation or an erasure has left, and closes what is due. */
function runnerOf(deps: DigestDeps, wake: () => void): () => Promise<void> {
  const { database, hints } = deps;
  const closingDeps = closingDepsOf(deps);
  let after = FIRST_ID;
  return async () => {
    const unsettled = await unsettledAfter(database.engine, after, SETTLED_AT_ONCE);
    after = unsettled.length < SETTLED_AT_ONCE ? FIRST_ID : (unsettled.at(-1)?.id ?? FIRST_ID);
    if (unsettled.length > 0) await settle(database, unsettled);
    if ((await closeDigests(closingDeps)) === 0) return;
    wake();
    hints.work();
  };
}

function closingDepsOf({ database, channels, defaults, quietUntil, log }: DigestDeps): ClosingDeps {
  return {
    inTransaction: database.transaction,
    claimDigests,
    itemsOf: itemsOfDigests,
    recipients: (tx, keys) => recipientsFor(tx, keys, { create: false }),
    defaults: defaults.read,
    channels: channels.facts,
    quietUntil,
    baseUrlOf: (tenantId) => defaults.settingsOf(tenantId).base_url ?? null,
    clock: clockIn,
    write,
    postpone: postponeDigest,
    isUnavailable,
    log,
  };
}

const UTC = 'UTC';

function clockIn(at: Date, zone: string | null): string {
  const { date, minute } = localOf(at, zone ?? UTC);
  const two = (number: number) => String(number).padStart(2, '0');
  return `${date} ${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}

/** Nothing of it is leased: whoever has room sends the messages. */
const NO_LEASE = { token: FIRST_ID, leaseMs: 0 };

async function write(tx: Tx, { held, dropped, begun, messages, closed }: Closed): Promise<void> {
  const events = messages.map(({ event }) => ({ event, requestJson: JSON.stringify(event.request), state: 'routed' as const }));
  await Promise.all([
    dropItems(
      tx,
      dropped.map(({ item, state, reason }) => ({ id: item.deliveryId, state, reason })),
    ),
    beginItems(
      tx,
      begun.map(({ deliveryId }) => deliveryId),
    ),
    holdDigests(tx, held),
    events.length > 0 ? insertEvents(tx, events) : null,
    insertNotifications(
      tx,
      messages.map(({ notification }) => notification),
    ),
    insertDeliveries(
      tx,
      messages.map(({ delivery }) => delivery),
      NO_LEASE,
    ),
    closeRows(tx, closed),
  ]);
}
