/** The channel `email`: a mail to one mailbox. */
import type { Channel, Provider } from '../../domain/channel.ts';
import { renderEmail, type RenderedEmail } from './render.ts';

export interface EmailAddress {
  /** `local@domain`, without a display name. */
  readonly mailbox: string;
  /** Where this recipient opts out; not given for what nobody can opt out of. */
  readonly unsubscribe?: UnsubscribeLinks | undefined;
}

export interface UnsubscribeLinks {
  /** One-click (RFC 8058). */
  readonly url?: string | undefined;
  readonly mailto?: string | undefined;
}

export interface EmailChannelOptions {
  readonly providers: readonly Provider<EmailAddress, RenderedEmail>[];
  readonly delaysMs: readonly number[];
  /** Connections to the mail server: more of a tenant's mails would only wait for one. */
  readonly maxInFlight: number;
  readonly unsubscribe: (mailbox: string, owner: { readonly tenantId: string; readonly userId: string | null }) => UnsubscribeLinks;
}

export function emailChannel({ providers, delaysMs, maxInFlight, unsubscribe }: EmailChannelOptions): Channel<EmailAddress, RenderedEmail> {
  return {
    name: 'email',
    title: 'E-mail',
    available: providers.length > 0,
    address: { field: 'email', format: 'mailbox', profile: 'email', words: 'one mailbox', secret: false },
    lane: 'tenant',
    maxInFlight,
    delaysMs,
    providers,
    render: ({ subject, body, actionUrl, written }, { productName }) => {
      if (written?.html !== undefined) return { subject, html: written.html, text: written.text };
      return renderEmail({ subject, body: written?.text ?? body, actionUrl, productName });
    },
    addressOf: (mailbox, owner) => (owner.critical ? { mailbox } : { mailbox, unsubscribe: unsubscribe(mailbox, owner) }),
  };
}
