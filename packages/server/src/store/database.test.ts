import { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { freshDatabase, type TestDatabase } from '../../test/harness/database.ts';
import { CommitUnknown, isUnavailable, seal, TransactionAborted, within } from './database.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await db.query('create table carillon.test_rows (n integer primary key)');
  await db.query('grant all on carillon.test_rows to public');
});
afterAll(() => db.drop());

const insert = (n: number) => ({ name: 'test-insert', text: 'insert into carillon.test_rows values ($1)', values: [n] });
const FAILING = { name: 'test-failing', text: 'select 1 / 0', values: [] };
const rows = async () => (await db.query<{ n: number }>('select n from carillon.test_rows order by n')).map(({ n }) => n);

test('COMMIT of a transaction with a failed statement is no success', async () => {
  const work = db.database.transaction(async (tx) => {
    await within(tx).query(insert(1));
    await within(tx)
      .query(FAILING)
      .catch(() => undefined);
  });
  await expect(work).rejects.toThrow(TransactionAborted);
  expect(await rows()).toEqual([]);
});

test('what runs on beside a statement that failed writes nothing after the ROLLBACK', async () => {
  let straggler: Promise<unknown> = Promise.resolve();
  const ended: Promise<unknown> = db.database
    .transaction(async (tx) => {
      const first = within(tx).query({ name: 'test-one', text: 'select 1', values: [] });
      straggler = first.then(() => ended).then(() => within(tx).query(insert(2)));
      straggler.catch(() => undefined);
      await within(tx).query(FAILING);
    })
    .catch((error: unknown) => error);
  expect(await ended).toMatchObject({ message: 'division by zero' });
  await expect(straggler).rejects.toThrow();
  expect(await rows()).toEqual([]);
});

test('a connection that is cut while it is idle inside a transaction fails the transaction, not the process', async () => {
  const work = db.database.transaction(async (tx) => {
    const { rows: own } = await within(tx).query<{ pid: number }>({ name: 'test-pid', text: 'select pg_backend_pid() as pid', values: [] });
    await db.query('select pg_terminate_backend($1)', [own[0]!.pid]);
    await expect.poll(async () => db.query('select 1 from pg_stat_activity where pid = $1', [own[0]!.pid])).toEqual([]);
    await within(tx).query(insert(3));
  });
  await expect(work.catch((error: unknown) => isUnavailable(error))).resolves.toBe(true);
  expect(await rows()).toEqual([]);
  await db.database.transaction((tx) => within(tx).query(insert(4)));
  expect(await rows()).toEqual([4]);
});

test('an answer to COMMIT that was lost is neither success nor failure', async () => {
  const work = db.database.transaction(async (tx) => {
    await within(tx).query(insert(5));
    const { rows: own } = await within(tx).query<{ pid: number }>({ name: 'test-pid', text: 'select pg_backend_pid() as pid', values: [] });
    await db.query('select pg_terminate_backend($1)', [own[0]!.pid]);
  });
  const error = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(CommitUnknown);
  expect(isUnavailable(error)).toBe(true);
});

test('a sealed transaction writes all of its statements or none, and takes no further one', async () => {
  await db.database.transaction(async (tx) => {
    const last = within(tx).query(insert(6));
    seal(tx);
    await last;
    await expect(within(tx).query(insert(7))).rejects.toThrow();
  });
  const failing = db.database.transaction(async (tx) => {
    const last = Promise.all([within(tx).query(insert(8)), within(tx).query(FAILING)]);
    seal(tx);
    await last;
  });
  await expect(failing).rejects.toThrow('division by zero');
  expect(await rows()).toEqual([4, 6]);
});

test('what fails after a sealed transaction was committed says that it may have been written', async () => {
  const work = db.database.transaction(async (tx) => {
    const last = within(tx).query(insert(9));
    seal(tx);
    await last;
    throw new Error('a defect');
  });
  await expect(work).rejects.toThrow(CommitUnknown);
  expect(await rows()).toContain(9);
});

test('statements are neither compiled nor planned anew, alone and in transactions', async () => {
  const ask = {
    name: 'test-settings',
    text: "select current_setting('jit') as jit, current_setting('plan_cache_mode') as plans",
    values: [],
  };
  const wanted = [{ jit: 'off', plans: 'force_generic_plan' }];
  expect((await db.database.engine.query(ask)).rows).toEqual(wanted);
  expect((await db.database.transaction((tx) => within(tx).query(ask))).rows).toEqual(wanted);
  expect((await db.database.asTenant('t', (tx) => within(tx).query(ask))).rows).toEqual(wanted);
});

test('statements issued in one tick leave in one system call, from BEGIN to COMMIT', async () => {
  const marker = 'one-packet-4711';
  const writev = vi.spyOn(Socket.prototype, '_writev');
  await db.database.transaction(async (tx) => {
    const both = [1, 2].map((n) => within(tx).query({ name: 'test-text', text: 'select $1::text', values: [`${marker}-${n}`] }));
    seal(tx);
    await Promise.all(both);
  });
  const written = writev.mock.calls.map(([chunks]) =>
    Buffer.concat((chunks as unknown[]).filter((one) => one instanceof Uint8Array)).toString('latin1'),
  );
  writev.mockRestore();
  const packet = written.filter((bytes) => bytes.includes(marker));
  expect(packet).toEqual([expect.stringMatching(new RegExp(`begin;.*${marker}-1.*${marker}-2.*commit`, 's'))]);
});
