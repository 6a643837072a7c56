import { expect, test } from 'vitest';
import { makeUnsubscribeTokens, type OptOut } from './unsubscribe.ts';

const tokens = makeUnsubscribeTokens(Buffer.from('a secret of this installation'));
const ada: OptOut = { tenantId: 'acme', channel: 'email', of: { user: 'ada' } };

test.each<OptOut>([
  ada,
  { tenantId: 'acme:test', channel: 'email', of: { user: 'a user, with 日本語 and "quotes"' } },
  { tenantId: 'acme', channel: 'email', of: { address: 'ops@example.org' } },
])('a token says who no longer wants what: %j', (optOut) => {
  expect(tokens.read(tokens.make(optOut))).toEqual(optOut);
});

test('the longest ids fit in a path and in a line of a mail', () => {
  const token = tokens.make({ tenantId: 't'.repeat(256), channel: 'email', of: { user: '"'.repeat(256) } });
  expect(token.length).toBeLessThanOrEqual(768);
  expect(tokens.read(token)).toBeDefined();
});

test('what was not made here is nothing: another secret, another subject, a signature of something else, nonsense', () => {
  const token = tokens.make(ada);
  const [payload = '', signature = ''] = token.split('.');
  const [bob = ''] = tokens.make({ ...ada, of: { user: 'bob' } }).split('.');
  const wrong = [
    makeUnsubscribeTokens(Buffer.from('another')).make(ada),
    `${bob}.${signature}`,
    `${payload}.`,
    `${payload}.${'A'.repeat(43)}`,
    `${payload}.${signature}x`,
    `${payload}A.${signature}`,
    `${token}\n`,
    signature,
    '',
    '.',
    'x'.repeat(10_000),
  ];
  for (const one of wrong) expect(tokens.read(one), one.slice(0, 80)).toBeUndefined();
});
