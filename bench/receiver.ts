/** The far end, a process of its own: answers 200, verifies nothing, counts. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { parseId } from '../packages/server/src/lib/id.ts';
import { nowMs } from './clock.ts';
import { answerCommands } from './commands.ts';

/** `count`: nothing else. `record`: arrival time and event id. `look`: asks the database for the delivery before it answers. */
type Mode = 'count' | 'record' | 'look';

export type Arrival = readonly [eventId: string, atMs: number];

let mode: Mode = 'count';
let count = 0;
let arrivals: Arrival[] = [];
let committed = 0;
let database: pg.Pool | undefined;
let waiting: { readonly count: number; readonly resolve: (atMs: number) => void } | undefined;

const server = createServer((request, response) => {
  if (mode === 'count') request.on('data', () => undefined).on('end', () => accept(response));
  else void readAndAccept(request, response, nowMs());
});

function accept(response: ServerResponse): void {
  count++;
  response.writeHead(200, { 'content-length': 2 });
  response.end('ok');
  if (waiting && count >= waiting.count) {
    waiting.resolve(nowMs());
    waiting = undefined;
  }
}

async function readAndAccept(request: IncomingMessage, response: ServerResponse, atMs: number): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const eventId = /"event_id":"([^"]+)"/.exec(Buffer.concat(chunks).toString('latin1'))?.[1] ?? '';
  if (mode === 'look') {
    const rows = await rowsOf(eventId);
    committed += rows;
  } else arrivals.push([eventId, atMs]);
  accept(response);
}

/** Another connection sees a row only when it has been committed. */
async function rowsOf(eventId: string): Promise<number> {
  const result = await database?.query('select from carillon.deliveries where event_id = $1', [parseId('evt', eventId)]);
  return result?.rowCount ?? 0;
}

async function listen(): Promise<number> {
  server.keepAliveTimeout = 120_000; // nobody's idle connection is cut between two measurements
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function reset({ mode: wanted, databaseUrl }: { mode: Mode; databaseUrl?: string }): Promise<void> {
  await database?.end();
  database = undefined;
  if (databaseUrl !== undefined) database = new pg.Pool({ connectionString: databaseUrl, max: 8 });
  database?.on('error', () => undefined); // the query that it broke rejects too
  mode = wanted;
  count = 0;
  committed = 0;
  arrivals = [];
}

/** Resolves with the time of the request that made it so many. */
function waitFor({ count: wanted }: { count: number }): Promise<number> {
  if (count >= wanted) return Promise.resolve(nowMs());
  return new Promise((resolve) => {
    waiting = { count: wanted, resolve };
  });
}

answerCommands({ listen, reset, waitFor, counted: () => ({ count, committed }), arrivals: () => arrivals });
