/**
 * One PostgreSQL for the whole run: the server in TEST_DATABASE_URL (PostgreSQL 15 or newer, a superuser), else an embedded one.
 * It gets a migrated template, which `freshDatabase` copies for each test file.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { migrate } from '../../src/store/migrate.ts';
import { maintainPartitions } from '../../src/store/partitions.ts';
import { startEmbedded } from '../../src/store/embedded.ts';

export interface TestServer {
  readonly connection: { readonly host: string; readonly port: number; readonly user: string; readonly password?: string };
  readonly template: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    server: TestServer;
  }
}

/** What tests move instead of waiting: every process that asks this database sees the shifted time. */
const TEST_CLOCK = `
  create table carillon.test_clock (shift interval not null);
  insert into carillon.test_clock values ('0');
  grant select on carillon.test_clock to public;
  create or replace function carillon.now() returns timestamptz language sql stable parallel safe as 'select now() + (select shift from carillon.test_clock)'`;

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { connection, stop } = await startServer();
  const template = `carillon_template_${randomBytes(4).toString('hex')}`;
  await statement({ ...connection, database: 'postgres' }, `create database ${template}`);
  const database = { ...connection, database: template };
  await migrate(database);
  await maintainPartitions(database, { retentionDays: 30, beforeDrop: async () => undefined });
  await statement(database, TEST_CLOCK);
  project.provide('server', { connection, template });
  return async () => {
    await statement({ ...connection, database: 'postgres' }, `drop database ${template}`);
    await stop();
  };
}

async function startServer(): Promise<{ connection: TestServer['connection']; stop: () => Promise<void> }> {
  const url = process.env.TEST_DATABASE_URL;
  if (url) {
    const { hostname, port, username, password } = new URL(url);
    return {
      connection: {
        host: hostname,
        port: Number(port || 5432),
        user: decodeURIComponent(username),
        password: decodeURIComponent(password),
      },
      stop: async () => undefined,
    };
  }
  const dataDir = mkdtempSync(join(tmpdir(), 'carillon-test-'));
  // Only this server, which lives for one run: durability is tested on servers of their own, started by the product.
  const server = await startEmbedded({ dataDir, log: () => undefined, settings: { fsync: 'off', max_connections: '300' } });
  return {
    connection: { host: server.connection.host, port: server.connection.port, user: server.connection.user },
    stop: async () => {
      await server.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

async function statement(connection: pg.ClientConfig, text: string): Promise<void> {
  const client = new pg.Client(connection);
  await client.connect();
  await client.query(text).finally(() => client.end());
}
