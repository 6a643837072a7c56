/** Tenants: the border that nothing crosses. Each has a sibling for its test keys, which nothing leaves. */
import type { Throttle } from './throttle.ts';

const TEST_SUFFIX = ':test';

export function testTenantOf(tenantId: string): string {
  return `${tenantId}${TEST_SUFFIX}`;
}

/** Everything runs as it does for others, up to the providers: those are simulated. */
export function isTestTenant(tenantId: string): boolean {
  return tenantId.endsWith(TEST_SUFFIX);
}

/** So many requests in each window. Windows begin at multiples of their length. As on the wire. */
export interface RateLimit {
  readonly requests: number;
  readonly window_seconds: number;
}

/** What an operator sets for one tenant. Stored as it is. */
export interface TenantSettings {
  /** For all keys of the tenant together, instead of the installation's. */
  readonly rate_limit?: RateLimit | undefined;
  /** Instead of the installation's. */
  readonly throttle?: Throttle | undefined;
  /** What becomes of an event whose type the catalog does not have: told in general words, which is the default, or refused. */
  readonly unknown_type?: 'generic' | 'refuse' | undefined;
  /** Where paths lead, outside the inbox. */
  readonly base_url?: string | undefined;
  /** BCP 47: of destinations, and of users who have none. */
  readonly locale?: string | undefined;
  /** Whom `default` means in an event type. */
  readonly default_recipients?: readonly (string | { readonly role: string } | { readonly topic: string })[] | undefined;
}
