/** D: the workflow of a research-data airlock, from the event to the mail in somebody's mailbox. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../packages/server/test/harness/core.ts';
import { pasteReadme, readMail, startExample, type Email, type Example } from '../../packages/server/test/harness/example-folder.ts';
import { startReceiver, type Receiver } from '../../packages/server/test/harness/receiver.ts';

const BASE_URL = 'https://airlock.example.org';
const URL = 'https://objects.example.org/req-42.zip?X-Amz-Expires=604800&X-Amz-Signature=0123abcd';
const REQUEST = {
  request_id: 'req-42',
  title: 'Ward <occupancy> & beds',
  project: 'Hospital flow',
  researcher_id: 'rosa',
  researcher_name: 'Rosa Diaz',
};
const PEOPLE = ['rosa', 'cora', 'carl', 'paul', 'dora', 'nobody'];

let example: Example;
let webhook: Receiver;
beforeAll(async () => {
  example = await startExample('research-airlock');
  webhook = await startReceiver((response) => response.end());
  const { api } = example.server;
  await api('PATCH', '/v1/tenants/default', { settings: { base_url: BASE_URL } });
  await api(
    'POST',
    '/v1/users/batch',
    PEOPLE.map((id) => ({ id, email: `${id}@karectl.example` })),
  );
});
afterAll(async () => {
  await example.stop();
  await webhook.close();
});

/** Reports it, waits until nothing is under way, and reads what came: by whose mailbox. */
async function happens(type: string, data: object): Promise<{ id: string; mails: Map<string, Email> }> {
  const before = example.mails.mails.length;
  const { status, body } = await example.server.api('POST', '/v1/events', { type, data: { ...REQUEST, ...data } });
  expect(status, JSON.stringify(body)).toBe(202);
  await settled(body.id);
  const come = example.mails.mails.slice(before);
  return { id: body.id, mails: new Map(await Promise.all(come.map(async ({ to, raw }) => [to[0]!, await readMail(raw)] as const))) };
}

async function settled(id: string): Promise<void> {
  await eventually(async () => {
    const { counts } = (await example.server.api('GET', `/v1/events/${id}`)).body;
    return counts.recipients > 0 && counts.pending === 0 && counts.sending === 0;
  }).toBe(true);
}

const mailboxes = (...ids: string[]) => ids.map((id) => `${id}@karectl.example`).sort();

describe('D5 each of the seven events reaches those whom it concerns', () => {
  test.each([
    ['request.submitted', { checker_ids: ['cora', 'carl'] }, ['cora', 'carl'], 'New request to check: Ward <occupancy> & beds'],
    ['agent_review.ready', { checker_ids: ['cora', 'carl'] }, ['cora', 'carl'], 'Agent report ready: Ward <occupancy> & beds'],
    ['request.changes_requested', { reasons: ['Round <5>'] }, ['rosa'], 'Changes requested: Ward <occupancy> & beds'],
    ['request.approved', { project_lead_id: 'paul' }, ['rosa', 'paul'], 'Request approved: Ward <occupancy> & beds'],
    ['request.rejected', { reasons: ['Identifies patients'] }, ['rosa'], 'Request rejected: Ward <occupancy> & beds'],
    [
      'request.released',
      { download_recipient_ids: ['dora', 'rosa'], presigned_url: URL, expires_at: '2030-02-07T12:00:00Z' },
      ['rosa', 'dora'],
      'Ready to download: Ward <occupancy> & beds',
    ],
    [
      'presigned_url.expiring',
      { download_recipient_ids: ['dora'], presigned_url: URL, expires_at: '2030-02-07T12:00:00Z' },
      ['rosa', 'dora'],
      'Download link expires soon: Ward <occupancy> & beds',
    ],
  ])('D5 %s', async (type, data, people, subject) => {
    const { id, mails } = await happens(type, data);
    expect([...mails.keys()].sort()).toEqual(mailboxes(...people));
    for (const mail of mails.values()) {
      expect(mail.subject).toBe(subject);
      expect(mail.html).toContain('Ward &lt;occupancy&gt; &amp; beds');
      expect(mail.text).toContain('Ward <occupancy> & beds');
      for (const part of [mail.html, mail.text]) {
        expect(part).toContain('Research Airlock · request req-42');
        expect(part).not.toMatch(/\{\{|\{%|undefined|null|\n{4}/);
      }
    }
    const { body } = await example.server.api('GET', `/v1/notifications?event_id=${id}`);
    expect(body.data.map((one: { user_id: string }) => one.user_id).sort()).toEqual([...people].sort());
    for (const { id: notification } of body.data) {
      const { body: told } = await example.server.api('GET', `/v1/notifications/${notification}`);
      expect(told).toMatchObject({ subject, action_url: '/requests/req-42' });
      expect(told.timeline.filter(({ what }: { what: string }) => what === 'warning')).toEqual([]);
    }
  });

  test('D5 what the workflow has to say stands in both texts, each reason in a line', async () => {
    const { mails } = await happens('request.changes_requested', { reasons: ['Round the <5> percentages', 'Drop column C'] });
    const [mail] = [...mails.values()];
    expect(mail!.html).toContain('<li>Round the &lt;5&gt; percentages</li>\n<li>Drop column C</li>');
    expect(mail!.text).toContain('- Round the <5> percentages\n- Drop column C');
    for (const part of [mail!.html, mail!.text]) expect(part).toContain(`${BASE_URL}/requests/req-42`);
  });

  test('D5 an event without those whom it concerns is refused, with where it lacks', async () => {
    const { status, body } = await example.server.api('POST', '/v1/events', { type: 'request.submitted', data: REQUEST });
    expect([status, body.errors[0].pointer]).toEqual([422, '/data/checker_ids']);
  });
});

describe('D7 the released mail', () => {
  test('D7 shows the pre-signed URL first and large, with its expiry, in HTML and text', async () => {
    const { mails } = await happens('request.released', { presigned_url: URL, expires_at: '2030-02-07T12:00:00Z' });
    const mail = mails.get('rosa@karectl.example')!;
    const link = `href="${URL.replaceAll('&', '&amp;')}"`;
    expect(mail.html).toContain(link);
    expect(mail.html!.indexOf(link)).toBeLessThan(mail.html!.indexOf('Hospital flow'));
    expect(mail.html).toContain('font-size:18px;font-weight:700');
    expect(mail.text!.split('\n').slice(0, 8)).toContain(URL);
    for (const part of [mail.html, mail.text]) expect(part).toContain('The link works until 07 February 2030, 12:00 UTC.');
  });

  test('D7 and no address that could run is ever behind its button', async () => {
    const refused = await example.server.api('POST', '/v1/events', {
      type: 'request.released',
      data: { ...REQUEST, presigned_url: 'javascript:alert(1)', expires_at: '2030-02-07T12:00:00Z' },
    });
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, '/data/presigned_url']);
  });
});

describe('D2 besides mail and inbox', () => {
  test('D2 a webhook gets the event as JSON, signed in the header that the settings name', async () => {
    const { api } = example.server;
    const config = { webhook_url: `http://127.0.0.1:${webhook.port}/airlock` };
    const made = await api('POST', '/v1/destinations', { name: 'SIEM', channel: 'webhook', config, events: { 'request.approved': true } });
    await happens('request.approved', { project_lead_id: 'paul' });
    await happens('request.rejected', {});
    await eventually(() => webhook.requests.length).toBe(1);
    const [request] = webhook.requests;
    expect(request!.headers['x-trevor-signature']).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.parse(request!.body)).toMatchObject({ type: 'request.approved', data: { data: { request_id: 'req-42' } } });
    await api('DELETE', `/v1/destinations/${made.body.id}`);
  });
});

describe('D8 who decides what goes where', () => {
  test('D8 a user chooses one channel, and one event does not reach her several times', async () => {
    const { api } = example.server;
    await api('PUT', '/v1/users/dora/preferences', { channels: { email: { enabled: false } } });
    await api('PUT', '/v1/users/paul/preferences', { channels: { in_app: { enabled: false } } });
    const { id, mails } = await happens('request.approved', { researcher_id: 'dora', project_lead_id: 'paul' });
    expect([...mails.keys()]).toEqual(mailboxes('paul'));
    const { body } = await api('GET', `/v1/events/${id}`);
    expect(
      body.skipped.map((one: { user_id: string; channel: string; reason: string }) => [one.user_id, one.channel, one.reason]).sort(),
    ).toEqual([
      ['dora', 'email', 'opted_out'],
      ['paul', 'in_app', 'opted_out'],
    ]);
    expect(body.counts).toMatchObject({ recipients: 2, delivered: 2 });
  });
});

test('D5 the README’s commands do what they say', () => pasteReadme('research-airlock', 'Ready to download: Ward occupancy 2029'));
