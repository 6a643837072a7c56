/**
 * Development without a mail server: every mail counts as delivered, and the outbox page shows it
 * from the database. Nothing leaves.
 */
import type { Provider } from '../../domain/channel.ts';
import { reasonOf } from '../../lib/abort.ts';
import type { EmailAddress } from './channel.ts';
import type { RenderedEmail } from './render.ts';

export function outboxProvider(): Provider<EmailAddress, RenderedEmail> {
  return {
    id: 'email.outbox',
    send: (_, signal) =>
      signal.aborted
        ? Promise.reject(reasonOf(signal))
        : Promise.resolve({ kind: 'accepted', response: 'Kept in the development outbox.' }),
    close: () => Promise.resolve(),
  };
}
