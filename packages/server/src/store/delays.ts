/** Channels that are told later than the others. Only deliveries with a delay come here. */
import type { DeliveryJob, NewDelivery } from '../domain/delivery.ts';
import type { Delay, Tx } from '../domain/event.ts';
import { bareArray, bounds } from './arrays.ts';
import { within } from './database.ts';

/** Of rows that have just been inserted. */
export async function markDelayed(tx: Tx, rows: readonly NewDelivery[]): Promise<void> {
  const ids = rows.map((row) => row.id);
  await within(tx).query({
    name: 'delays-mark',
    text: `update carillon.deliveries d set delayed_until = g.until
             from unnest($1::uuid[], $4::timestamptz[]) as g (id, until)
            where d.id = any($1) and d.id between $2 and $3 and d.id = g.id`,
    values: [bareArray(ids), ...bounds(ids), bareArray(rows.map((row) => row.dueAt?.toISOString() ?? null))],
  });
}

/** With what the gate needs to know of those that have a delay: what their type said, and whether their notification has been seen. */
export async function withDelays(tx: Tx, jobs: readonly DeliveryJob[]): Promise<readonly DeliveryJob[]> {
  const delayed = jobs.filter((job) => job.delayedUntil);
  if (delayed.length === 0) return jobs;
  const [delays, seen] = await Promise.all([
    loadDelays(tx, [...new Set(delayed.map((job) => job.eventId))]),
    loadSeen(tx, [...new Set(delayed.flatMap((job) => job.notificationId ?? []))]),
  ]);
  return jobs.map((job) => {
    if (!job.delayedUntil) return job;
    const onlyIf = delays.get(job.eventId)?.[job.channel]?.only_if ?? null;
    return { ...job, delay: { until: job.delayedUntil, onlyIf, seen: job.notificationId !== null && seen.has(job.notificationId) } };
  });
}

type Delays = Readonly<Record<string, Delay>>;

async function loadDelays(tx: Tx, ids: readonly string[]): Promise<Map<string, Delays | null>> {
  const { rows } = await within(tx).query<{ id: string; delays: Delays | null }>({
    name: 'delays-of-events',
    text: "select id, request -> 'delays' as delays from carillon.events where id = any($1) and id between $2 and $3",
    values: [ids, ...bounds(ids)],
  });
  return new Map(rows.map(({ id, delays }) => [id, delays]));
}

/** Of these notifications, those that are not unread any more. */
async function loadSeen(tx: Tx, ids: readonly string[]): Promise<Set<string>> {
  const { rows } = await within(tx).query<{ id: string }>({
    name: 'delays-seen',
    text: `select id from carillon.notifications
            where id = any($1) and id between $2 and $3 and (read_at is not null or archived_at is not null or deleted_at is not null)`,
    values: [ids, ...bounds(ids)],
  });
  return new Set(rows.map(({ id }) => id));
}
