/** A: how runs ended, from the event to the inbox, the webhook and the Slack channel of their owner. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../packages/server/test/harness/core.ts';
import { pasteReadme, startExample, type Example } from '../../packages/server/test/harness/example-folder.ts';
import { startReceiver, type Receiver } from '../../packages/server/test/harness/receiver.ts';

let example: Example;
let farEnd: Receiver;
beforeAll(async () => {
  farEnd = await startReceiver((response, { path }) => response.end(path === '/slack' ? 'ok' : ''));
  example = await startExample('execution-platform');
  await example.server.api('PATCH', '/v1/tenants/default', { settings: { base_url: 'https://runner.example.org' } });
});
afterAll(async () => {
  await example.stop();
  await farEnd.close();
});

const report = async (type: string, owner: string, more: object = {}) => {
  const data = { execution_id: '7f3', metadata: { user_id: owner, service_name: 'runner' }, ...more };
  const { status, body } = await example.server.api('POST', '/v1/events', { type, data });
  expect(status, JSON.stringify(body)).toBe(202);
  return body.id as string;
};
const eventOf = async (id: string) => (await example.server.api('GET', `/v1/events/${id}`)).body;
const told = async (id: string) => {
  await eventually(async () => (await eventOf(id)).notifications.length).toBe(1);
  return (await example.server.api('GET', `/v1/notifications/${(await eventOf(id)).notifications[0].id}`)).body;
};

describe('A1 what became of a run', () => {
  const bodies: Readonly<Record<string, string>> = {
    completed: 'Your run has ended after 12.5 s.',
    failed: 'Your run has failed: user_error, exit 1.',
    timeout: 'Your run was stopped after 300 s: it took too long.',
  };
  test.each([
    ['completed', 'Execution Completed: 7f3', 'medium', { duration_seconds: 12.5 }],
    ['failed', 'Execution Failed: 7f3', 'high', { error_type: 'user_error', error_message: 'exit 1' }],
    ['timeout', 'Execution Timeout: 7f3', 'high', { timeout_seconds: 300 }],
  ])('A1 %s: its owner reads it, and A3 the tags say which run', async (outcome, subject, severity, data) => {
    const id = await report(`execution.${outcome}`, `owner-${outcome}`, data);
    const body = bodies[outcome];
    expect(await told(id)).toMatchObject({ user_id: `owner-${outcome}`, subject, body, severity, action_url: '/executions/7f3' });
    expect((await eventOf(id)).tags).toEqual(['execution', outcome, 'entity:execution', 'exec:7f3']);
  });

  test('A11 an event without error_type, as older producers wrote it, is a system_error', async () => {
    expect((await told(await report('execution.failed', 'older'))).body).toBe('Your run has failed: system_error.');
  });

  test('A11 unknown fields of the data are no mistake; without an owner nobody is told, and the answer says so', async () => {
    await told(await report('execution.failed', 'newer', { something: { else: 1 } }));
    const { status, body } = await example.server.api('POST', '/v1/events', {
      type: 'execution.failed',
      data: { execution_id: '7f3', metadata: {} },
    });
    expect([status, body.errors[0].pointer]).toEqual([422, '/data/metadata/user_id']);
  });
});

test('A4 five of a severity in any hour: the sixth is recorded and not told, another severity and another user are', async () => {
  const outcomes = async (type: string, owner: string, count: number) => {
    const reasons: string[] = [];
    for (let at = 0; at < count; at++) {
      const id = await report(type, owner);
      await eventually(async () => (await eventOf(id)).counts.recipients).toBe(1);
      reasons.push((await eventOf(id)).skipped.some(({ reason }: { reason: string }) => reason === 'throttled') ? 'throttled' : 'told');
    }
    return reasons;
  };
  const five = Array<string>(5).fill('told');
  expect(await outcomes('execution.failed', 'busy', 7)).toEqual([...five, 'throttled', 'throttled']);
  expect(await outcomes('execution.timeout', 'busy', 1)).toEqual(['throttled']); // also high
  expect(await outcomes('execution.completed', 'busy', 1)).toEqual(['told']);
  expect(await outcomes('execution.failed', 'calm', 1)).toEqual(['told']);
  await example.server.moveClock(3_600_000);
  expect(await outcomes('execution.failed', 'busy', 1)).toEqual(['told']);
});

test('A6 a webhook with the installation’s header, and Slack with the colour of the severity and a button', async () => {
  const { api } = example.server;
  const url = `http://127.0.0.1:${farEnd.port}`;
  await api('PUT', '/v1/users/ada', { webhook_url: `${url}/hook` });
  const slack = { enabled: true, webhook_url: `${url}/slack`, severities: ['high'] };
  expect((await api('PUT', '/v1/users/ada/preferences', { channels: { slack } })).status).toBe(200);
  const id = await report('execution.failed', 'ada');
  await eventually(async () => (await eventOf(id)).counts.delivered).toBe(3);
  const [hook, chat] = ['/hook', '/slack'].map((path) => farEnd.requests.find((request) => request.path === path)!);
  expect(hook!.headers['x-service']).toBe('runner');
  expect(JSON.parse(hook!.body)).toMatchObject({
    type: 'execution.failed',
    data: { subject: 'Execution Failed: 7f3', tags: expect.arrayContaining(['exec:7f3']) },
  });
  const message = JSON.parse(chat!.body);
  expect(message.attachments[0].color).toBe('#e8912d');
  expect(message.blocks.at(-1).elements[0]).toMatchObject({ type: 'button', url: 'https://runner.example.org/executions/7f3' });
});

test('A1 the README’s commands do what they say', () => pasteReadme('execution-platform', '"subject":"Execution Failed: 7f3"'));
