import { expect, test } from 'vitest';
import { describeChannel, describeProvider, toSendResult } from './contract.ts';

const provider = { id: 'a.b', send: () => undefined, close: () => undefined };
const channel = {
  title: 'Pager',
  address: { field: 'number', format: 'text', words: 'a number' },
  render: () => undefined,
  providers: [provider],
};

test('what is left out of a channel has its default, and an address is secret', () => {
  expect(describeChannel({ ...channel, retry: ['30s'] })).toEqual({
    channel: {
      title: 'Pager',
      address: { field: 'number', format: 'text', words: 'a number', profile: null, secret: true },
      lane: 'address',
      delaysMs: [30_000],
    },
    providers: ['a.b'],
  });
  expect(describeProvider(provider)).toEqual({ channel: null, providers: ['a.b'] });
});

test.each([
  [undefined, 'it: '],
  [{ ...channel, render: undefined }, 'render: must be a function'],
  [{ ...channel, retry: ['soon'] }, 'retry.0: must be a time'],
  [{ ...channel, providers: [] }, 'providers: '],
  [{ ...channel, providers: [{ ...provider, id: 'Not this' }] }, 'providers.0.id: '],
  [{ ...channel, address: { ...channel.address, pattern: '(' } }, 'address.pattern: must be a regular expression'],
  [{ ...channel, address: { ...channel.address, format: 'pigeon' } }, 'address.format: '],
])('%# breaks the contract, and the message says where', (value, message) => {
  expect(() => describeChannel(value)).toThrow(message);
});

test('a good result stays what it is', () => {
  const wish = { kind: 'transient', reason: 'rate_limited', detail: 'slow down', status: 429, response: 'r', retryAfterMs: 5 };
  expect(toSendResult(wish)).toEqual(wish);
  expect(toSendResult({ kind: 'accepted', providerId: 'x' })).toMatchObject({ kind: 'accepted', providerId: 'x' });
});

test.each([
  [undefined],
  [null],
  ['accepted'],
  [{}],
  [{ kind: 'done' }],
  [{ kind: 'permanent', reason: 'bored' }],
  [{ kind: 'permanent', reason: 'sent' }],
])('%j is no result', (value) => {
  expect(toSendResult(value)).toEqual({ kind: 'transient', reason: 'internal', detail: 'the module answered something that is no result' });
});

test('what can’t be stored is cut or dropped', () => {
  const result = toSendResult({
    kind: 'transient',
    reason: 'timeout',
    detail: 'y'.repeat(9_999),
    response: 'z'.repeat(9_999),
    status: 1.5,
    retryAfterMs: Number.NaN,
  });
  expect(result).toEqual({
    kind: 'transient',
    reason: 'timeout',
    detail: 'y'.repeat(300),
    response: 'z'.repeat(4_096),
    status: undefined,
    retryAfterMs: undefined,
  });
});
