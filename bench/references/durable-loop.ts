/** The bare durable loop: batch insert, batch claim with SKIP LOCKED, POST, batch completion guarded by a token. */
import pg from 'pg';
import { Pool } from 'undici';
import { nowMs } from '../clock.ts';
import { answerCommands } from '../commands.ts';
import { BATCH, EVENT } from '../events.ts';

const IN_FLIGHT = 64;
const WORKERS = 3;

interface Row {
  readonly id: string;
  readonly payload: unknown;
  readonly token: string;
}

let database: pg.Pool;
let receiver: Pool;

answerCommands({ start, run });

function start({ databaseUrl, receiverUrl }: { databaseUrl: string; receiverUrl: string }): void {
  database = new pg.Pool({ connectionString: databaseUrl, max: 8 });
  receiver = new Pool(receiverUrl, { connections: IN_FLIGHT, pipelining: 1 });
}

/** One after the other: all inserted, then all delivered. Times in milliseconds. */
async function run({ count }: { count: number }): Promise<{ insertMs: number; deliverMs: number }> {
  await database.query(`drop table if exists d; create table d (id uuid primary key default gen_random_uuid(), tenant text, endpoint text, payload jsonb,
    state smallint not null default 0, attempt smallint not null default 0, due_at timestamptz not null default now(), lease_until timestamptz, token uuid, done_at timestamptz);
    create index d_due on d (due_at) where state = 0`);
  const payload = JSON.stringify(EVENT);
  const startedMs = nowMs();
  for (let sent = 0; sent < count; sent += BATCH) {
    const size = Math.min(BATCH, count - sent);
    await database.query("insert into d (tenant, endpoint, payload) select 't', 'e', x::jsonb from unnest($1::text[]) x", [
      Array<string>(size).fill(payload),
    ]);
  }
  const insertedMs = nowMs();
  await Promise.all(Array.from({ length: WORKERS }, work));
  return { insertMs: insertedMs - startedMs, deliverMs: nowMs() - insertedMs };
}

async function work(): Promise<void> {
  for (;;) {
    const { rows } = await database.query<Row>(
      `with c as (select id from d where state = 0 and due_at <= now() order by due_at limit $1 for update skip locked)
       update d set state = 1, attempt = attempt + 1, token = gen_random_uuid(), lease_until = now() + interval '60s' from c where d.id = c.id
       returning d.id, d.payload, d.token, d.attempt`,
      [BATCH],
    );
    if (rows.length === 0) return;
    const queue = rows.values();
    await Promise.all(Array.from({ length: IN_FLIGHT / 2 }, () => deliver(queue)));
    await database.query(
      'update d set state = 2, done_at = now(), lease_until = null from unnest($1::uuid[], $2::uuid[]) u (id, token) where d.id = u.id and d.token = u.token',
      [rows.map(({ id }) => id), rows.map(({ token }) => token)],
    );
  }
}

/** Several share one iterator: each takes the next row. */
async function deliver(queue: Iterable<Row>): Promise<void> {
  for (const { payload } of queue) {
    const { body } = await receiver.request({
      path: '/hook',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(payload),
    });
    await body.dump();
  }
}
