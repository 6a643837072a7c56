/**
 * Development without a mail server: every mail counts as delivered, and the outbox page shows it
 * from the database. Nothing leaves.
 */
import type { Provider } from '../../domain/channel.ts';
import { reasonOf } from '../../lib/abort.ts';

export function outboxProvider(): Provider<'email'> {
  return {
    id: 'email.outbox',
    channel: 'email',
    send: (_, signal) =>
      signal.aborted
        ? Promise.reject(reasonOf(signal))
        : Promise.resolve({ kind: 'accepted', response: 'Kept in the development outbox.' }),
    close: () => Promise.resolve(),
  };
}
