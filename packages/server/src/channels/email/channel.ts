/** The channel `email`: a mail to one mailbox. */
import type { Channel, Provider } from '../../domain/channel.ts';
import { renderEmail, type RenderedEmail } from './render.ts';

export interface EmailAddress {
  /** `local@domain`, without a display name. */
  readonly mailbox: string;
}

export interface EmailChannelOptions {
  readonly providers: readonly Provider<EmailAddress, RenderedEmail>[];
  readonly delaysMs: readonly number[];
  /** Connections to the mail server: more of a tenant's mails would only wait for one. */
  readonly maxInFlight: number;
}

export function emailChannel({ providers, delaysMs, maxInFlight }: EmailChannelOptions): Channel<EmailAddress, RenderedEmail> {
  return {
    name: 'email',
    title: 'E-mail',
    available: providers.length > 0,
    address: { field: 'email', format: 'mailbox', profile: 'email', words: 'one mailbox', secret: false },
    lane: 'tenant',
    maxInFlight,
    delaysMs,
    providers,
    render: ({ subject, body, actionUrl }, { productName }) => renderEmail({ subject, body, actionUrl, productName }),
    addressOf: (mailbox) => ({ mailbox }),
  };
}
