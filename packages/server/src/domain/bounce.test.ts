import { expect, test } from 'vitest';
import { bounceTypeOf } from './bounce.ts';

const cases: [action: string, status: string, diagnostic: string, type: string | undefined][] = [
  ['failed', '5.1.1', 'smtp; 550 5.1.1 no such user', 'hard'],
  ['failed', '5.1.2', 'no such domain', 'hard'],
  ['failed', '5.1.10', 'null MX', 'hard'],
  ['failed', '5.2.1', 'mailbox disabled', 'hard'],
  ['failed', '5.0.0', 'smtp; 550 5.1.1 unknown', 'hard'],
  ['failed', '5.0.0', 'smtp; 550 unknown user', 'hard'],
  ['failed', '', 'smtp; 550 5.1.1 unknown', 'hard'],
  ['failed', '5.0.0', 'smtp; 554 spam', 'soft'],
  ['failed', '5.0.0', '', 'soft'],
  ['failed', '5.1.8', 'bad sender', 'soft'],
  ['failed', '5.2.2', 'smtp; 552 5.2.2 full', 'soft'],
  ['failed', '5.3.4', 'too big', 'soft'],
  ['failed', '5.4.7', 'delivery time expired', 'soft'],
  ['failed', '4.4.7', 'delivery time expired', 'soft'],
  ['failed', '5.7.1', 'smtp; 550 5.7.1 policy', 'soft'],
  ['delayed', '4.4.1', 'no answer', 'soft'],
  ['delivered', '2.0.0', '', undefined],
  ['relayed', '2.0.0', '', undefined],
  ['', '5.1.1', '', undefined],
];
test.each(cases)('%s %s (%s) is %s', (action, status, diagnostic, type) => {
  expect(bounceTypeOf({ action, status, diagnostic })).toBe(type);
});
