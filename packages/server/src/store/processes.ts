/** Who runs against this database. A process that has not been seen for 30 s does not count. */
import type { Queryable } from './database.ts';

/** Notes that this process is alive; resolves with whether others are. */
export async function beat(db: Queryable, id: string, roles: readonly string[]): Promise<boolean> {
  const { rows } = await db.query<{ others: boolean }>({
    name: 'processes-beat',
    text: `with mine as (
             insert into carillon.processes (id, roles, seen_at) values ($1, $2, now())
                 on conflict (id) do update set seen_at = excluded.seen_at
           ), gone as (
             delete from carillon.processes where seen_at < now() - interval '1 hour'
           )
           select exists (select from carillon.processes where id <> $1 and seen_at > now() - interval '30 s') as others`,
    values: [id, roles],
  });
  return rows[0]?.others ?? false;
}

export async function leave(db: Queryable, id: string): Promise<void> {
  await db.query({ name: 'processes-leave', text: 'delete from carillon.processes where id = $1', values: [id] });
}

/** After a commit and in a statement of its own: inside a transaction NOTIFY would serialise commits. */
export async function notify(db: Queryable, channel: string, payload: string): Promise<void> {
  await db.query({ name: 'notify', text: 'select pg_notify($1, $2)', values: [channel, payload] });
}
