import { expect, test } from 'vitest';
import { onAbort, reasonOf } from './abort.ts';

test('all that still wait are called once, with the reason', () => {
  const controller = new AbortController();
  const calls: string[] = [];
  onAbort(controller.signal, (reason) => calls.push(`one ${reason.message}`));
  const forget = onAbort(controller.signal, () => calls.push('forgotten'));
  onAbort(controller.signal, (reason) => calls.push(`two ${reason.message}`));
  forget();
  controller.abort(new Error('stop'));
  expect(calls).toEqual(['one stop', 'two stop']);
});

test('a reason that is no error becomes one', () => {
  const controller = new AbortController();
  controller.abort('enough');
  expect(reasonOf(controller.signal)).toMatchObject({ message: 'aborted', cause: 'enough' });
});
