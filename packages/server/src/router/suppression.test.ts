import { expect, test, vi } from 'vitest';
import { knownChannels } from '../../test/harness/channels.ts';
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { ListedAddress } from '../domain/suppression.ts';
import type { Decision } from './decide.ts';
import { withList, type Decided } from './suppression.ts';

const tx = {} as Tx;
const user = { suppressed: {} } as Decided['addressee']['user'];
const decidedFor = (userId: string, decisions: readonly Decision[]): Decided => ({
  event: { tenantId: 'acme' } as CarillonEvent,
  addressee: { userId, user, inline: undefined },
  decisions,
});
const to = (channel: string, address: string | null): Decision => ({ kind: 'deliver', channel, address, lane: address });
const depsWith = (...listed: string[]) => ({
  channels: knownChannels(),
  areSuppressed: vi.fn(async (_: Tx, wanted: readonly ListedAddress[]) => wanted.map(({ address }) => listed.includes(address))),
});

test('a batch without mail asks nothing', async () => {
  const deps = depsWith();
  const decided = [
    decidedFor('ada', [to('in_app', null), to('webhook', 'https://example.org')]),
    decidedFor('bob', [{ kind: 'skip', channel: 'email', reason: 'opted_out' }]),
  ];
  expect(await withList(deps, tx, decided, () => [])).toBe(decided);
  expect(deps.areSuppressed).not.toHaveBeenCalled();
});

test('a batch asks once, and only those whose address is on the list are decided again', async () => {
  const deps = depsWith('off@example.org');
  const decided = [
    decidedFor('ada', [to('in_app', null), to('email', 'on@example.org')]),
    decidedFor('bob', [to('email', 'off@example.org')]),
    decidedFor('eve', [to('webhook', 'https://example.org')]),
  ];
  const again = vi.fn((): Decision[] => [{ kind: 'skip', channel: 'email', reason: 'suppressed' }]);
  const answer = await withList(deps, tx, decided, again);
  expect(deps.areSuppressed).toHaveBeenCalledExactlyOnceWith(tx, [
    { tenantId: 'acme', channel: 'email', address: 'on@example.org' },
    { tenantId: 'acme', channel: 'email', address: 'off@example.org' },
  ]);
  expect(again).toHaveBeenCalledExactlyOnceWith(
    decided[1]?.event,
    expect.objectContaining({ userId: 'bob', user: { suppressed: { email: 'off@example.org' } } }),
  );
  expect(answer.map(({ decisions }) => decisions.map(({ channel, kind }) => `${channel} ${kind}`))).toEqual([
    ['in_app deliver', 'email deliver'],
    ['email skip'],
    ['webhook deliver'],
  ]);
});
