import { expect, test } from 'vitest';
import { html } from './html.ts';

test('values are escaped in text and in attributes, markup is not escaped twice', () => {
  const hostile = `"><script>'&`;
  const inner = html`<i title="${hostile}">${hostile}</i>`;
  expect(inner.markup).toBe('<i title="&quot;&gt;&lt;script&gt;&#39;&amp;">&quot;&gt;&lt;script&gt;&#39;&amp;</i>');
  expect(html`<b>${inner}${[inner]}${null}${undefined}${7}</b>`.markup).toBe(`<b>${inner.markup}${inner.markup}7</b>`);
});
