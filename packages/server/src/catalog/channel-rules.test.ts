import { expect, test } from 'vitest';
import { readDefinition } from './definition.ts';

const KNOWN = { in_app: { maxDelayMs: 1 }, email: { maxDelayMs: 90.5 * 3_600_000 }, webhook: { maxDelayMs: 5.5 * 60_000 } };

function problemsOf(channels: string): string[] {
  const read = readDefinition(`channels: ${channels}`, KNOWN);
  return read.ok ? [] : read.problems.map(({ message }) => message);
}

test.each([
  ['{ in_app: {}, email: { delay: 10m, only_if: unread } }'],
  ['{ in_app: null, email: { delay: 90h }, webhook: { delay: 5m, severities: [high] } }'],
  ['{ email: { delay: 10m } }'],
])('%s is fine', (channels) => {
  expect(problemsOf(channels)).toEqual([]);
});

test.each([
  ['{ email: { delay: soon } }', 'channels.email.delay must be a time such as 30m, 12h or 7d'],
  ['{ email: { delay: 91h } }', 'channels.email.delay must be at most 90h: more does not fit in retention.days'],
  ['{ webhook: { delay: 6m } }', 'channels.webhook.delay must be at most 5m: more does not fit in retention.days'],
  ['{ in_app: { delay: 1m } }', 'channels.in_app.delay must not stand here: the inbox shows at once; set scheduled_for'],
  ['{ in_app: {}, email: { only_if: unread } }', 'channels.email.only_if must come with delay: nobody has read what has just been sent'],
  [
    '{ email: { delay: 10m, only_if: unread } }',
    'channels.email.only_if must come with the channel in_app: only what is in the inbox can be read there',
  ],
  ['{ in_app: {}, email: { delay: 10m, only_if: read } }', 'channels.email.only_if must be unread'],
  ['{ emial: { delay: 10m } }', 'channels.emial is not known; the nearest known name is email'],
])('%s is refused', (channels, problem) => {
  expect(problemsOf(channels)).toEqual([problem]);
});

test('what was checked before is read whatever the settings are now', () => {
  expect(readDefinition('channels: { in_app: {}, email: { delay: 300d, only_if: unread } }', null)).toMatchObject({ ok: true });
});
