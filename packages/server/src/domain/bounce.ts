/** What came back of a mail after it had been taken. */

/** hard: the address takes no mail, now or later; soft: this mail did not arrive; complaint: the recipient called it unwanted. */
export type BounceType = 'hard' | 'soft' | 'complaint';

/** One recipient's fields of a delivery status (RFC 3464 2.3). */
export interface DeliveryStatus {
  readonly action: string;
  /** `5.1.1` (RFC 3463). */
  readonly status: string;
  /** What the far end said, such as `smtp; 550 5.1.1 no such user`. */
  readonly diagnostic: string;
}

/** Undefined for what is no failure: delivered, relayed, expanded. */
export function bounceTypeOf({ action, status, diagnostic }: DeliveryStatus): BounceType | undefined {
  if (action === 'delayed') return 'soft';
  if (action !== 'failed') return undefined;
  return isAboutTheAddress(exactCode(status, diagnostic), diagnostic) ? 'hard' : 'soft';
}

/** Some servers say x.0.0 for everything, and the real code in the diagnostic. */
function exactCode(status: string, diagnostic: string): string {
  const [said] = /\b[245]\.\d{1,3}\.\d{1,3}\b/.exec(diagnostic) ?? [];
  return /^\d\.0\.0$/.test(status) || status === '' ? (said ?? status) : status;
}

/** A full mailbox, a policy, a size or a time that was up says nothing about the next mail. Neither does a sender that was refused. */
function isAboutTheAddress(code: string, diagnostic: string): boolean {
  if (code === '5.1.7' || code === '5.1.8') return false;
  if (/^5\.1\./.test(code) || code === '5.2.1') return true;
  return /^5\.0\.0$/.test(code) && /\b55[013]\b/.test(diagnostic);
}
