/** A person who can be told. The caller's id is the id. */
import type { Person } from './preference.ts';

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
export interface Recipient extends Person {
  readonly id: string;
  readonly email: string | null;
  readonly phone: string | null;
  readonly webhookUrl: string | null;
  /** For templates: BCP 47, and what the caller keeps of the person. */
  readonly locale?: string | null | undefined;
  readonly attributes?: Readonly<Record<string, unknown>> | undefined;
}
