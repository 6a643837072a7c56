/** The least durable relay: node:http, one INSERT, 202, POST, one UPDATE. No retries, no leases, nothing shared between requests. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { Pool } from 'undici';
import { nowMs } from '../clock.ts';
import { answerCommands } from '../commands.ts';

const INSERT = { name: 'relay-insert', text: 'insert into relay (payload) values ($1) returning id' };
const UPDATE = { name: 'relay-update', text: 'update relay set state = 1, done_at = now() where id = $1' };

answerCommands({ start, reset, waitFor });

let finished = 0;
let waiting: { readonly count: number; readonly resolve: (atMs: number) => void } | undefined;

async function start({ databaseUrl, receiverUrl }: { databaseUrl: string; receiverUrl: string }): Promise<number> {
  const database = new pg.Pool({ connectionString: databaseUrl, max: 10 });
  const receiver = new Pool(receiverUrl, { connections: 64 });
  await database.query(
    'create table relay (id uuid primary key default gen_random_uuid(), payload jsonb, state smallint not null default 0, at timestamptz default now(), done_at timestamptz)',
  );

  async function relay(payload: string, response: ServerResponse): Promise<void> {
    const { rows } = await database.query<{ id: string }>({ ...INSERT, values: [payload] });
    const id = rows[0]?.id ?? '';
    const answer = JSON.stringify({ id });
    response.writeHead(202, { 'content-type': 'application/json', 'content-length': answer.length });
    response.end(answer);
    const body = `{"event_id":"${id}",${payload.slice(1)}`;
    const { body: received } = await receiver.request({
      path: '/hook',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    await received.dump();
    await database.query({ ...UPDATE, values: [id] });
    finish();
  }

  const server = createServer((request, response) => {
    let payload = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (payload += chunk));
    request.on('end', () => {
      relay(payload, response).catch((error: unknown) => response.destroy(error as Error)); // the generator sees it and gives up
    });
  });
  server.keepAliveTimeout = 120_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function finish(): void {
  finished++;
  if (waiting?.count !== finished) return;
  waiting.resolve(nowMs());
  waiting = undefined;
}

function reset(): void {
  finished = 0;
}

/** Resolves with the time of the last UPDATE. */
function waitFor({ count }: { count: number }): Promise<number> {
  if (finished >= count) return Promise.resolve(nowMs());
  return new Promise((resolve) => {
    waiting = { count, resolve };
  });
}
