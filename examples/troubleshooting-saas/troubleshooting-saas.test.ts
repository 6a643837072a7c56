/** B: alerts of accounts, from the event to the inbox, the mailing list, the Slack channel and the Teams channel of the account. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../packages/server/test/harness/core.ts';
import { pasteReadme, readMail, startExample, type Email, type Example } from '../../packages/server/test/harness/example-folder.ts';
import { startReceiver, type Receiver } from '../../packages/server/test/harness/receiver.ts';
import type { Reply } from '../../packages/server/test/harness/server.ts';

let example: Example;
let chats: Receiver;
beforeAll(async () => {
  // As their documentation says: Slack answers `ok`, a Workflows webhook 202 with nothing.
  chats = await startReceiver((response, { path }) => {
    if (path.includes('/teams/')) response.writeHead(202).end();
    else response.end('ok\n');
  });
  example = await startExample('troubleshooting-saas');
});
afterAll(async () => {
  await example.stop();
  await chats.close();
});

interface Account {
  readonly id: string;
  readonly api: (method: string, path: string, body?: unknown) => Promise<Reply>;
}

const ROLES = { olga: 'owner', adam: 'admin', tina: 'team_admin', mike: 'member' };

/** A tenant with its people, and a destination on each of the three channels that hears of everything. */
async function account(id: string, settings: object = { base_url: 'https://app.example.org/' }): Promise<Account> {
  const made = await example.server.api('POST', '/v1/tenants', { id, settings });
  const api: Account['api'] = (method, path, body) =>
    example.server.api(method, path, body, { authorization: `Bearer ${made.body.api_key.key}` });
  const people = Object.entries(ROLES).map(([user, role]) => ({ id: user, roles: [role] }));
  await api('POST', '/v1/users/batch', [...people, { id: 'ivy', roles: ['owner'], active: false }]);
  const events = { '*': true };
  const configs = {
    slack: { webhook_url: `http://127.0.0.1:${chats.port}/${id}/slack/T1/B1` },
    teams: { webhook_url: `http://127.0.0.1:${chats.port}/${id}/teams/workflows` },
    email: { email_addresses: [`ops@${id}.example`, `night@${id}.example`] },
  };
  for (const [channel, config] of Object.entries(configs))
    expect((await api('POST', '/v1/destinations', { name: channel, channel, config, events })).status).toBe(201);
  return { id, api };
}

interface Told {
  readonly users: string[];
  readonly notification: Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any -- as it is read from the API
  readonly slack: Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any -- what Slack got
  readonly teams: Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any -- what Teams got
  readonly mails: Email[];
}

/** Reports it and reads back what came on every channel of the account. */
async function happens({ id, api }: Account, type: string, more: object): Promise<Told> {
  const mailsBefore = example.mails.mails.length;
  const chatsBefore = chats.requests.length;
  const { status, body } = await api('POST', '/v1/events', { type, ...more });
  expect(status, JSON.stringify(body)).toBe(202);
  await eventually(async () => {
    const { counts } = (await api('GET', `/v1/events/${body.id}`)).body;
    return [counts.pending, counts.sending, counts.failed, counts.delivered > 3];
  }).toEqual([0, 0, 0, true]);
  const come = (channel: string) => {
    const found = chats.requests.slice(chatsBefore).filter(({ path }) => path.startsWith(`/${id}/${channel}/`));
    expect(found.length).toBe(1);
    return JSON.parse(found[0]!.body) as Told['slack'];
  };
  const { data } = (await api('GET', `/v1/notifications?event_id=${body.id}`)).body;
  const { body: notification } = await api('GET', `/v1/notifications/${data[0].id}`);
  const mails = await Promise.all(example.mails.mails.slice(mailsBefore).map(({ raw }) => readMail(raw)));
  return {
    users: data.map((one: { user_id: string }) => one.user_id).sort(),
    notification,
    slack: come('slack'),
    teams: come('teams'),
    mails,
  };
}

/** One sentence for each event, as its type says it. */
const BODIES: Readonly<Record<string, string>> = {
  'session.escalated': 'Eve Stone has escalated a troubleshooting session and needs a second pair of eyes.',
  'session.high_priority': 'A troubleshooting session has been started for a ticket of high priority.',
  'proposal.pending': 'A proposal for a new flow waits for your review.',
  'proposal.approved': 'The proposal has been approved, and its flow can be used.',
  'knowledge_gap.detected': 'Sessions keep asking what no flow answers yet.',
};

describe('B7 the texts of each event, on every channel', () => {
  let acme: Account;
  beforeAll(async () => {
    acme = await account('acme');
  });

  test.each([
    ['session.escalated', { engineer_name: 'Eve Stone', session_id: 's-7' }, 'Session escalated by Eve Stone', '/pilot/s-7'],
    ['session.high_priority', { ticket_number: 'T-1042', session_id: 's-8' }, 'High-priority session started: T-1042', '/pilot/s-8'],
    ['proposal.pending', { title: 'Reset <queue> & go' }, 'New flow proposal: Reset <queue> & go', '/review-queue'],
    ['proposal.approved', { title: 'Reset the queue' }, 'Flow proposal approved: Reset the queue', '/review-queue'],
    ['knowledge_gap.detected', { gap_type: 'VPN on Linux' }, 'Knowledge gap detected: VPN on Linux', '/analytics/flowpilot'],
  ])('B7 %s', async (type, data, title, path) => {
    const { notification, slack, teams, mails } = await happens(acme, type, { data });
    const body = BODIES[type]!;
    expect(notification).toMatchObject({ subject: title, body, action_url: path });
    const url = `https://app.example.org${path}`;
    expect(slack.blocks.at(-1).elements[0]).toMatchObject({ url });
    expect(slack.text).toBe(`🔔 ${title.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}`);
    expect(teams.attachments[0].content.actions[0].url).toBe(url);
    expect(mails.map((mail) => mail.to?.[0]?.address).sort()).toEqual(['night@acme.example', 'ops@acme.example']);
    for (const mail of mails) {
      expect(mail.subject).toBe(title);
      expect(mail.html).toContain(`href="${url}"`);
      expect(mail.text).toContain(`${body}\n\n${url}`);
    }
  });

  test('B7 a missing value is empty, with a warning; a link that misses one is left out, everywhere', async () => {
    const { notification, slack, teams, mails } = await happens(acme, 'session.escalated', { data: {} });
    expect(notification).toMatchObject({ subject: 'Session escalated by', action_url: null });
    expect(notification.body).toBe('An engineer has escalated a troubleshooting session and needs a second pair of eyes.');
    const warnings = notification.timeline.filter(({ what }: { what: string }) => what === 'warning');
    expect(warnings.map(({ detail }: { detail: string }) => detail)).toContain('subject.liquid: data.engineer_name has no value');
    expect(slack.blocks.map(({ type }: { type: string }) => type)).toEqual(['header', 'section']);
    expect(teams.attachments[0].content).not.toHaveProperty('actions');
    for (const mail of mails) expect(mail.html).not.toContain('<a ');
  });

  test('B7 data of a kind that nobody expected never breaks the send', async () => {
    const { notification } = await happens(acme, 'session.escalated', { data: { engineer_name: 42, session_id: 'a/../../b?x' } });
    expect(notification).toMatchObject({ subject: 'Session escalated by 42', action_url: '/pilot/a%2F..%2F..%2Fb%3Fx' });
  });

  test('B7 an event that nobody has described: `Notification: <event>`, `Event: <event>`, no link', async () => {
    const { notification, slack, teams } = await happens(acme, 'billing.overdue', { to: ['olga'], data: { session_id: 's-7' } });
    expect(notification).toMatchObject({ subject: 'Notification: billing.overdue', body: 'Event: billing.overdue', action_url: null });
    expect(slack.blocks.map(({ text }: { text: { text: string } }) => text.text)).toEqual([
      '🔔 Notification: billing.overdue',
      'Event: billing.overdue',
    ]);
    expect(teams.attachments[0].content.body.map(({ text }: { text: string }) => text)).toEqual([
      'Notification: billing.overdue',
      'Event: billing.overdue',
    ]);
  });

  test('B7 without an address of the tenant there is no button, and the inbox keeps the path', async () => {
    const bare = await account('bare', {});
    const { notification, slack, teams, mails } = await happens(bare, 'proposal.pending', { data: { title: 'x' } });
    expect(notification.action_url).toBe('/review-queue');
    expect(JSON.stringify([slack, teams, mails])).not.toContain('review-queue');
  });
});

describe('B9 chats, to the letter', () => {
  test('B9 Slack: header, mrkdwn section, button; Teams: Adaptive Card 1.4 with the same label', async () => {
    const account9 = await account('nine');
    const { slack, teams } = await happens(account9, 'proposal.pending', { data: { title: 'Reset' } });
    const [label, url] = ['Open in FlowPilot', 'https://app.example.org/review-queue'];
    expect(slack.blocks).toEqual([
      { type: 'header', text: { type: 'plain_text', text: '🔔 New flow proposal: Reset' } },
      { type: 'section', text: { type: 'mrkdwn', text: BODIES['proposal.pending'], verbatim: true } },
      { type: 'actions', elements: [{ type: 'button', text: { type: 'plain_text', text: label }, url }] },
    ]);
    expect(teams).toMatchObject({
      type: 'message',
      attachments: [
        {
          contentType: 'application/vnd.microsoft.card.adaptive',
          content: {
            type: 'AdaptiveCard',
            version: '1.4',
            body: [
              { type: 'TextBlock', text: 'New flow proposal: Reset', weight: 'Bolder', size: 'Medium' },
              { type: 'TextBlock', text: BODIES['proposal.pending'], wrap: true },
            ],
            actions: [{ type: 'Action.OpenUrl', title: label, url }],
          },
        },
      ],
    });
  });
});

describe('B3 whom an event concerns', () => {
  let cobalt: Account;
  beforeAll(async () => {
    cobalt = await account('cobalt');
    await account('other');
  });

  test.each([
    ['nobody named', {}],
    ['an empty list', { to: [] }],
  ])('B3 %s: owners, admins and team admins of the account, the active ones', async (_, more) => {
    expect((await happens(cobalt, 'proposal.pending', { data: { title: 'x' }, ...more })).users).toEqual(['adam', 'olga', 'tina']);
  });

  test('B3 somebody named: those of them who are active', async () => {
    expect((await happens(cobalt, 'proposal.pending', { data: { title: 'x' }, to: ['mike', 'ivy'] })).users).toContain('mike');
    const { body } = await cobalt.api('POST', '/v1/events', { type: 'proposal.pending', data: { title: 'x' }, to: ['ivy'] });
    const look = async () => (await cobalt.api('GET', `/v1/events/${body.id}`)).body;
    await eventually(async () => (await look()).counts.delivered).toBe(4); // the account's channels, and nobody in place of her
    expect(await look()).toMatchObject({ notifications: [], skipped: [{ user_id: 'ivy', reason: 'user_inactive' }] });
  });
});

describe('B4 the channels of an account', () => {
  test('B4 an event key that is none of the five is refused, and so is a channel without its address', async () => {
    const { api } = await account('four');
    const config = { webhook_url: 'https://hooks.slack.example/services/T1/B1/x' };
    const unknown = await api('POST', '/v1/destinations', { name: 'x', channel: 'slack', config, events: { 'proposal.pendnig': true } });
    expect([unknown.status, unknown.body.errors[0].pointer]).toEqual([422, '/events/proposal.pendnig']);
    const bare = await api('POST', '/v1/destinations', { name: 'x', channel: 'teams', config: {}, events: {} });
    expect([bare.status, bare.body.errors[0].pointer]).toEqual([422, '/config/webhook_url']);
  });

  test('B4 what is not switched on is not told, and B8 each mailbox has a mail of its own', async () => {
    const { id, api } = await account('eight');
    const { data } = (await api('GET', '/v1/destinations')).body;
    for (const { id: destination, channel } of data)
      await api('PATCH', `/v1/destinations/${destination}`, {
        events: { 'proposal.pending': channel === 'email', 'proposal.approved': null },
      });
    const [mailsBefore, chatsBefore] = [example.mails.mails.length, chats.requests.length];
    for (const type of ['proposal.pending', 'proposal.approved'])
      expect((await api('POST', '/v1/events', { type, data: { title: 'x' } })).status).toBe(202);
    await eventually(() =>
      example.mails.mails
        .slice(mailsBefore)
        .map(({ to }) => to)
        .sort(),
    ).toEqual([[`night@${id}.example`], [`ops@${id}.example`]]);
    expect(chats.requests.length).toBe(chatsBefore);
  });
});

test('B7 the README’s commands do what they say', () => pasteReadme('troubleshooting-saas', 'Session escalated by Eve Stone'));
