import { expect, test } from 'vitest';
import { channelSettings, completeChannels } from './channel-setting.ts';

const { schema } = channelSettings();
const refusal = (value: unknown) => schema.safeParse(value).error?.issues.map(({ message }) => message);

test('what is left out has its default, and waits are milliseconds', () => {
  expect(schema.parse({ slack: null, sms: { retry: ['30s', '2m'], providers: [{ name: 'twilio', options: { a: 1 } }] } })).toEqual({
    slack: { enabled: true },
    sms: { enabled: true, retry: [30_000, 120_000], providers: [{ name: 'twilio', options: { a: 1 } }] },
  });
  expect(schema.parse('{"slack":{"enabled":false}}')).toEqual({ slack: { enabled: false } });
});

test.each([
  [[], 'expected record'],
  [{ Slack: {} }, 'Slack: Invalid key'],
  [{ slack: { enable: true } }, 'slack: Unrecognized key: "enable"'],
  [{ slack: { retry: ['3 days'] } }, 'slack.retry.0: must be a time from 1s to 2d'],
  [{ sms: { providers: [] } }, 'sms.providers: '],
  [{ sms: { providers: [{}] } }, 'sms.providers.0: needs either a name or a module'],
  [{ sms: { module: './a.ts', providers: [{ name: 'a' }] } }, 'sms: a module brings its own providers'],
  [{ sms: { options: {}, providers: [{ name: 'a' }] } }, 'sms: with providers the options belong to each of them'],
])('%j is refused', (value, message) => {
  expect(refusal(value)?.join()).toContain(message);
});

test('files stand beside the document, packages do not, and options are left alone', () => {
  const document = {
    port: 1,
    channels: {
      a: { module: './a.ts', options: { module: './b.ts' } },
      b: { providers: [{ module: '../c.ts' }, { module: 'a-package' }] },
    },
  };
  expect(completeChannels(document, '/etc/carillon', {})).toEqual({
    port: 1,
    channels: {
      a: { module: '/etc/carillon/a.ts', options: { module: './b.ts' } },
      b: { providers: [{ module: '/etc/c.ts' }, { module: 'a-package' }] },
    },
  });
  expect(completeChannels({ port: 1 }, '/', {})).toEqual({ port: 1 });
  expect(completeChannels(null, '/', {})).toBeNull();
});

test('a secret comes from the environment, and its absence is told', () => {
  const document = { channels: { telegram: { options: { bot_token: '${TELEGRAM_TOKEN}', list: ['${A}', 'not ${A}'] } } } };
  expect(completeChannels(document, '/', { TELEGRAM_TOKEN: 't', A: 'a' })).toEqual({
    channels: { telegram: { options: { bot_token: 't', list: ['a', 'not ${A}'] } } },
  });
  expect(() => completeChannels(document, '/', { A: 'a' })).toThrow(
    'channels.telegram.options.bot_token asks for the variable TELEGRAM_TOKEN',
  );
});
