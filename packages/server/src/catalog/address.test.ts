import { describe, expect, test } from 'vitest';
import { compileContent } from './content.ts';
import { NOTHING_SAID } from './definition-fields.ts';

/** What a template makes of `data.url` for a channel. */
function made(channel: 'email' | 'slack' | 'teams', template: string, url: unknown): { text: string; warnings: readonly string[] } {
  const file = channel === 'email' ? 'email.html.liquid' : `${channel}.json.liquid`;
  const compiled = compileContent('x', { 'event.yaml': '', [file]: template }, NOTHING_SAID);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const result = compiled.content.channel(channel, { values: { data: { url } }, locale: null, baseUrl: null });
  if (!result?.ok) throw new Error(result?.detail);
  return { text: result.value.html ?? JSON.stringify(result.value.payload), warnings: result.warnings };
}

const BAD = [
  'javascript:alert(1)',
  ' JAVASCRIPT:alert(1)',
  'java\nscript:alert(1)',
  'data:text/html,<script>',
  'vbscript:x',
  '//evil.example',
  '!channel',
  '@U1',
  'https://bank.example@evil.example/',
  7,
  ['https://a.example'],
  null,
];
const PLACES = [
  ['email', '<a href="{{ data.url }}">x</a>', '<a href="">x</a>'],
  ['email', "<a href='{{- data.url -}}'>x</a>", "<a href=''>x</a>"],
  ['email', '<a href="{% if true %}{{ data.url }}{% endif %}">x</a>', '<a href="">x</a>'],
  ['email', '<img SRC = "{{ data.url }}">', '<img SRC = "">'],
  ['slack', '{"type":"button","url": "{{ data.url }}"}', '{"type":"button","url":""}'],
  ['slack', '{"image_url":"{{ data.url }}"}', '{"image_url":""}'],
  ['slack', '{"text":"<{{ data.url }}|Open>"}', '{"text":"<|Open>"}'],
  ['teams', '{"url":"{{ data.url }}"}', '{"url":""}'],
  ['teams', '{"text":"[Open]({{ data.url }})"}', '{"text":"[Open]()"}'],
] as const;

describe('where a value is an address, one that could run, mention or mislead is left out with a warning', () => {
  test.each(PLACES)('%s: %s', (channel, template, without) => {
    for (const bad of BAD) {
      const { text, warnings } = made(channel, template, bad);
      expect(text).toBe(without);
      expect(warnings).toEqual([expect.stringContaining('data.url has no value')]);
    }
  });

  test.each([['https://app.example.org/a?b=c&d=e'], ['http://localhost:1/'], ['mailto:ops@example.org'], ['/disks/7']])(
    '%s stays',
    (url) => {
      expect(made('email', '<a href="{{ data.url }}">x</a>', url)).toEqual({
        text: `<a href="${url.replace('&', '&amp;')}">x</a>`,
        warnings: [],
      });
      expect(JSON.parse(made('slack', '{"url":"{{ data.url }}","text":"<{{ data.url }}|x>"}', url).text)).toEqual({
        url,
        text: `<${url.replace('&', '&amp;')}|x>`,
      });
      expect(JSON.parse(made('teams', '{"url":"{{ data.url }}"}', url).text)).toEqual({ url });
    },
  );

  test('a value further on in the address is what it is, and so is one beside it', () => {
    expect(made('email', '<a href="https://a.example/{{ data.url }}" title="{{ data.url }}">{{ data.url }}</a>', '"x').text).toBe(
      '<a href="https://a.example/&quot;x" title="&quot;x">&quot;x</a>',
    );
  });
});
