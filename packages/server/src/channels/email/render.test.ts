import { expect, test } from 'vitest';
import { renderEmail } from './render.ts';

const input = { subject: 'Invoice 7', body: 'It is paid.', productName: 'Carillon' };

test('a mail has a title, a language, the body and the product, twice', () => {
  const { subject, html, text } = renderEmail({ ...input, actionUrl: 'https://example.com/i/7?a=1&b=2', locale: 'de-CH' });
  expect(subject).toBe('Invoice 7');
  expect(html).toContain('<html lang="de-CH" dir="auto">');
  expect(html).toContain('<title>Invoice 7</title>');
  expect(html).toContain('<h1 dir="auto"');
  expect(html).toContain('>It is paid.</p>');
  expect(html).toContain('<a href="https://example.com/i/7?a=1&amp;b=2"');
  expect(html).toContain('>Open example.com</a>');
  expect(text).toBe('It is paid.\n\nhttps://example.com/i/7?a=1&b=2\n\n-- \nCarillon\n');
});

test('everything is escaped, wherever it stands', () => {
  const evil = `<script>alert("1")</script>&'`;
  const { html } = renderEmail({
    subject: evil,
    body: evil,
    productName: evil,
    actionUrl: "https://example.com/?'&x",
    locale: '"><script>',
  });
  expect(html).not.toContain('<script');
  expect(html).toContain('<html lang="en"');
  expect(html.split('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;')).toHaveLength(5); // title, heading, body, product
  expect(html).toContain('href="https://example.com/?&#39;&amp;x"');
});

test('blank lines make paragraphs, other line breaks stay, whatever their kind', () => {
  const { html, text } = renderEmail({ ...input, body: 'one\r\ntwo\rthree\n\n\nfour\n' });
  expect(html).toContain('>one<br>\ntwo<br>\nthree</p>\n<p dir="auto"');
  expect(html).toContain('>four<br>\n</p>');
  expect(text).toBe('one\ntwo\nthree\n\n\nfour\n\n-- \nCarillon\n');
});

test('without a body there is no empty paragraph', () => {
  const { html, text } = renderEmail({ ...input, body: ' \n' });
  expect(html).not.toContain('<p dir="auto"');
  expect(text).toBe('-- \nCarillon\n');
});

const links: [string | null | undefined, boolean][] = [
  ['https://example.com', true],
  ['HTTP://example.com/a', true],
  ['mailto:ada@example.com', true],
  ['/orders/7', false],
  ['//example.com/x', false],
  ['orders/7', false],
  ['javascript:alert(1)', false],
  ['JAVASCRIPT://example.com/%0aalert(1)', false],
  ['data:text/html,x', false],
  ['ftp://example.com', false],
  ['https://', false],
  ['https:example.com', false],
  ['https://bank.example@evil.example/', false],
  ['https://example.com/a b', false],
  ['https://example.com/\n', false],
  ['https://example.com/"onclick="x', false],
  ['mailto:', false],
  ['', false],
  [null, false],
  [undefined, false],
];
test.each(links)('the action URL %j is a button: %s', (actionUrl, wanted) => {
  const { html, text } = renderEmail({ ...input, actionUrl });
  expect(html.includes('<a href')).toBe(wanted);
  expect(text).toBe(wanted ? `It is paid.\n\n${actionUrl}\n\n-- \nCarillon\n` : 'It is paid.\n\n-- \nCarillon\n');
});
