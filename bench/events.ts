/** What is sent, the same for everyone who is measured. */

export const USERS = 1_000;
export const BATCH = 200;

export const userId = (index: number): string => `user-${index % USERS}`;

/** 200 bytes of data, as in the references. */
export const EVENT = { type: 'execution.completed', data: { id: 'x'.repeat(200) } };

/** To one user, by webhook. */
export function webhookEvent(index: number): string {
  return JSON.stringify({ ...EVENT, to: [userId(index)], channels: ['webhook'] });
}

/** Accepted, and not routed while we look. */
export function scheduledEvent(at: Date): string {
  return JSON.stringify({ ...EVENT, to: [userId(0)], scheduled_for: at.toISOString() });
}

export function batchOf(first: number, size: number): string {
  return `[${Array.from({ length: size }, (_, index) => webhookEvent(first + index)).join(',')}]`;
}
