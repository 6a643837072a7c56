import { describe, expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { CONTEXT, telling } from '../../../test/harness/telling.ts';
import { escapeTeams, renderTeams } from './render.ts';
import { teamsWorkflow } from './workflow.ts';

const PATH = '/workflows/0123/triggers/manual/paths/invoke?api-version=1&sig=planted-secret';
const subject = {
  name: 'teams.workflow',
  provider: teamsWorkflow,
  address: (base: string) => ({ url: base + PATH }),
  content: renderTeams(telling(), CONTEXT),
};

httpContract({
  ...subject,
  body: (status) => (status === 202 ? '' : 'said so'),
  accepts: [200, 202],
  refuses: [
    [201, 'transient', 'provider_error'],
    [204, 'transient', 'provider_error'],
    [400, 'transient', 'provider_error'],
    [401, 'transient', 'unauthorized'],
    [404, 'transient', 'provider_error'],
    [410, 'permanent', 'address_gone'],
    [413, 'permanent', 'content_rejected'],
    [429, 'transient', 'rate_limited'],
    [502, 'transient', 'provider_error'],
  ],
  secrets: [PATH, 'planted-secret'],
});

describe('the message', () => {
  test('is one Adaptive Card 1.4 with a bold title, a wrapped body and the button', async () => {
    const { request } = await talk(subject, { status: 202 });
    expect(request).toMatchObject({ method: 'POST', path: PATH, headers: { 'content-type': 'application/json' } });
    expect(JSON.parse(request!.body)).toEqual({
      type: 'message',
      attachments: [
        {
          contentType: 'application/vnd.microsoft.card.adaptive',
          contentUrl: null,
          content: {
            $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
            type: 'AdaptiveCard',
            version: '1.4',
            body: [
              { type: 'TextBlock', text: 'Disk almost full', weight: 'Bolder', size: 'Medium', color: 'Warning', wrap: true },
              { type: 'TextBlock', text: '92 % used', wrap: true },
            ],
            actions: [{ type: 'Action.OpenUrl', title: 'Open in Carillon', url: 'https://app.example.org/disks/7' }],
            msteams: { width: 'Full' },
          },
        },
      ],
    });
  });

  test.each([
    ['[click](https://evil.example)', String.raw`\[click\]\(https://evil.example\)`],
    ['**bold** _it_ `code`', '\\*\\*bold\\*\\* \\_it\\_ \\`code\\`'],
    ['- item\n1. one\n# head', '\\- item\n1\\. one\n\\# head'],
    ['<at>all</at>', String.raw`\<at\>all\</at\>`],
    ['a-b 1.5 c#', 'a-b 1.5 c#'],
  ])('%j is escaped', (text, want) => {
    expect(escapeTeams(text)).toBe(want);
  });

  test('line breaks stay', () => {
    const [, body] = renderTeams(telling({ body: 'one\r\ntwo\n\n\nthree' }), CONTEXT).attachments[0]!.content.body;
    expect(body!.text).toBe('one\n\ntwo\n\nthree');
  });

  test('a path, nothing, or a script makes no button', () => {
    for (const actionUrl of ['/disks/7', null, 'javascript:alert(1)'])
      expect(renderTeams(telling({ actionUrl }), CONTEXT).attachments[0]!.content).not.toHaveProperty('actions');
  });

  test.each([['a'], ['€'], ['😀'], ['*'], ['"\n']])('however long, of %j: at most 28 kB, cut between characters', (unit) => {
    for (const more of [{ body: unit.repeat(60_000) }, { subject: unit.repeat(60_000), body: unit.repeat(60_000) }]) {
      const text = JSON.stringify(renderTeams(telling(more), CONTEXT));
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(28_000);
      expect(Buffer.byteLength(text)).toBeGreaterThan(20_000);
      expect(text.isWellFormed()).toBe(true);
    }
  });
});

test('what is over 28 kB all the same is not sent', async () => {
  const [attachment] = subject.content.attachments;
  const body = [{ type: 'TextBlock' as const, text: 'x'.repeat(30_000), wrap: true as const }];
  const content = { ...subject.content, attachments: [{ ...attachment!, content: { ...attachment!.content, body } }] };
  const { result, request } = await talk({ ...subject, content }, { status: 202 });
  expect(result).toMatchObject({ kind: 'permanent', reason: 'content_rejected', detail: expect.stringContaining('28000') });
  expect(request).toBeUndefined();
});
