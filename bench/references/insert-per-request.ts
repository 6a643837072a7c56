/** Fastify, a validated body, one INSERT per request: what a careful team writes first. */
import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';
import pg from 'pg';
import { answerCommands } from '../commands.ts';

const SCHEMA = {
  body: {
    type: 'object',
    required: ['type', 'data'],
    properties: { type: { type: 'string' }, data: { type: 'object' }, to: { type: 'array' } },
  },
};

answerCommands({ start, counted });

let database: pg.Pool | undefined;

async function start({ databaseUrl }: { databaseUrl: string }): Promise<number> {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 10 });
  database = pool;
  await pool.query(
    'create table ev (id uuid primary key default gen_random_uuid(), tenant text, payload jsonb, at timestamptz default now())',
  );
  const app = Fastify();
  app.post('/events', { schema: SCHEMA }, async (request, reply) => {
    const { rows } = await pool.query<{ id: string }>('insert into ev (tenant, payload) values ($1, $2) returning id', ['t', request.body]);
    reply.code(202);
    return { id: rows[0]?.id };
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  return (app.server.address() as AddressInfo).port;
}

async function counted(): Promise<number> {
  const result = await database?.query<{ count: string }>('select count(*) from ev');
  return Number(result?.rows[0]?.count);
}
