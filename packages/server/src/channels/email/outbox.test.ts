import { expect, test } from 'vitest';
import { outboxProvider } from './outbox.ts';

const message = { deliveryId: 'dlv_1', address: { mailbox: 'ada@example.com' }, content: { subject: 's', html: 'h', text: 't' } };

test('everything counts as delivered, except when shutting down', async () => {
  const provider = outboxProvider();
  expect(provider.id).toBe('email.outbox');
  expect(await provider.send(message, new AbortController().signal)).toMatchObject({ kind: 'accepted' });
  await expect(provider.send(message, AbortSignal.abort(new Error('stopping')))).rejects.toThrow('stopping');
  await provider.close();
});
