/** A person who can be told. The caller's id is the id. */
import type { ChannelName } from './channel.ts';

/** Per channel: whether it may be used, and an address of its own under the name that the channel gives it. A channel that is not named is on. */
export interface Preferences {
  readonly channels: Readonly<Partial<Record<ChannelName, { readonly enabled: boolean; readonly [field: string]: unknown }>>>;
}

export const NO_PREFERENCES: Preferences = { channels: {} };

export interface User {
  readonly id: string;
  readonly email: string | null;
  readonly phone: string | null;
  readonly webhookUrl: string | null;
  readonly roles: readonly string[];
  /** BCP 47, for example `de-AT`. */
  readonly locale: string | null;
  /** IANA name, for example `Europe/Berlin`. */
  readonly timeZone: string | null;
  readonly active: boolean;
  readonly lastActiveAt: Date | null;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** What routing and the gate need to know of one user. */
export interface Recipient {
  readonly id: string;
  readonly email: string | null;
  readonly phone: string | null;
  readonly webhookUrl: string | null;
  readonly active: boolean;
  readonly preferences: Preferences;
  /** Channel → the address that was refused for good. */
  readonly suppressed: Readonly<Partial<Record<ChannelName, string>>>;
}
