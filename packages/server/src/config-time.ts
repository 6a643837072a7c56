/** Everything that can hold a delivery up has to end before its rows are dropped. */
import { MAX_DIGEST_DAYS } from './domain/digest.ts';
import { MAX_QUIET_DAYS } from './domain/quiet-hours.ts';

const DAY_MS = 86_400_000;
const JITTER = 1.2;

interface Times {
  readonly 'schedule.max_days': number;
  readonly 'retention.days': number;
}

interface Retries {
  readonly 'webhook.retry': readonly number[];
  readonly 'email.retry': readonly number[];
  readonly channels: Readonly<Record<string, { readonly retry?: readonly number[] | undefined }>>;
}

function retryDays(delaysMs: readonly number[]): number {
  return (delaysMs.reduce((sum, wait) => sum + wait, 0) * JITTER) / DAY_MS;
}

export function timeProblems(config: Times & Retries): string[] {
  const own = Object.values(config.channels).map(({ retry = [] }) => retry);
  const longest = Math.max(...[config['webhook.retry'], config['email.retry'], ...own].map(retryDays));
  const needed = config['schedule.max_days'] + longest + MAX_QUIET_DAYS + 1;
  if (needed <= config['retention.days']) return digestProblems(config);
  return [
    ...digestProblems(config),
    `schedule.max_days (${config['schedule.max_days']}) + the longest retries (${longest.toFixed(1)} days) + the longest quiet hours (${MAX_QUIET_DAYS} days) + 1 must fit in retention.days (${config['retention.days']}): keep rows at least ${Math.ceil(needed)} days, or schedule less far`,
  ];
}

/** Counted from the event's due time: so old are the rows of an item when its message is made. */
function digestProblems(config: Times): string[] {
  const needed = MAX_DIGEST_DAYS + MAX_QUIET_DAYS + 1;
  if (needed <= config['retention.days']) return [];
  return [
    `the longest digest (${MAX_DIGEST_DAYS} days) + the longest quiet hours (${MAX_QUIET_DAYS} days) + 1 must fit in retention.days (${config['retention.days']}): keep rows at least ${needed} days`,
  ];
}

/** What is left of the same sum for a delay, on a channel with these retries. */
export function maxDelayMs(config: Times, delaysMs: readonly number[]): number {
  const days = config['retention.days'] - config['schedule.max_days'] - retryDays(delaysMs) - MAX_QUIET_DAYS - 1;
  return Math.max(0, days * DAY_MS);
}
