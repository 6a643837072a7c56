import { expect, test } from 'vitest';
import { checkHeaderText, checkMailbox } from './mailbox.ts';

const good: [string, string][] = [
  ['ada@example.com', 'ada@example.com'],
  ['Ada.Lovelace+tag@Example.COM', 'Ada.Lovelace+tag@example.com'],
  ["o'brien@example.co.uk", "o'brien@example.co.uk"],
  ['!#$%&*/=?^_`{|}~-@example.com', '!#$%&*/=?^_`{|}~-@example.com'],
  ['ada@bücher.example', 'ada@xn--bcher-kva.example'],
  ['ada@例え.テスト', 'ada@xn--r8jz45g.xn--zckzah'],
  ['1@2.com', '1@2.com'],
  [`${'a'.repeat(64)}@example.com`, `${'a'.repeat(64)}@example.com`],
];
test.each(good)('%s is one mailbox', (text, mailbox) => {
  expect(checkMailbox(text)).toEqual({ ok: true, mailbox });
});

const bad = [
  '',
  '@',
  'ada',
  'ada@',
  '@example.com',
  'ada@localhost',
  'ada@example',
  'ada@example.com.',
  'ada@.example.com',
  'ada@example..com',
  'ada@-example.com',
  'ada@exa_mple.com',
  'ada@exa mple.com',
  'ada@127.0.0.1',
  'ada@0x7f.1',
  'ada@[127.0.0.1]',
  'ada@[IPv6:::1]',
  'ada@example.com/path',
  'ada@example.com:25',
  'ada@example%2ecom',
  'a@b@example.com',
  '.ada@example.com',
  'ada.@example.com',
  'a..da@example.com',
  'ä@example.com',
  '"ada lovelace"@example.com',
  'ada lovelace@example.com',
  'ada(comment)@example.com',
  'Ada <ada@example.com>',
  '<ada@example.com>',
  'ada@example.com>',
  'ada@example.com, eve@example.com',
  'ada@example.com;eve@example.com',
  'friends: ada@example.com;',
  '@relay.example:ada@example.com',
  'mailto:ada@example.com',
  ' ada@example.com',
  'ada@example.com ',
  'ada@example.com\r\nBcc: eve@example.com',
  'ada@example.com\n',
  'ada\r\n@example.com',
  'ada\0@example.com',
  'ada@example.com\0',
  'ada@exam\u200bple.com',
  'ada@exam\u00adple.com',
  'ada@\ud800.com',
  `${'a'.repeat(65)}@example.com`,
  `ada@${'a'.repeat(64)}.com`,
  `${'a'.repeat(64)}@${'a.'.repeat(94)}com`,
];
test.each(bad)('%j is no mailbox', (text) => {
  expect(checkMailbox(text)).toMatchObject({ ok: false });
});

test('header texts', () => {
  for (const text of ['', 'Your order', 'Größe 😀 "quoted" <b>', 'x'.repeat(998)]) expect(checkHeaderText(text)).toBeUndefined();
  for (const text of ['a\r\nBcc: eve@example.com', 'a\nb', 'a\rb', 'a\0', 'a\tb', 'a\u0085b', 'a\u2028b', '\ud800', 'x'.repeat(999)]) {
    expect(checkHeaderText(text), JSON.stringify(text).slice(0, 40)).toBeTypeOf('string');
  }
});
