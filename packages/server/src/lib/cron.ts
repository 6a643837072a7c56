/**
 * Cron with a zone: five fields (minute, hour, day, month, weekday) or a nickname such as `@daily`. A fixed time that the clock
 * leaves out comes at the moment of the jump, one that it shows twice comes the first time only; `*` and steps follow the clock.
 */
import { Cron } from 'croner';
import { jumpAfter, jumpBefore, type Jump } from './zone.ts';
import { makeLru } from './lru.ts';

export interface CronRule {
  readonly cron: string;
  /** IANA name. */
  readonly timeZone: string;
}

const FIELDS = 5;

/** Reading a rule takes longer than asking it. */
const known = makeLru<Cron>(1_000);

function open({ cron, timeZone }: CronRule): Cron {
  const name = `${timeZone} ${cron}`;
  const found = known.get(name) ?? new Cron(cron, { timezone: timeZone, mode: '5-part', fixedTimeRule: 'no-wildcard' });
  known.set(name, found);
  return found;
}

/** What is wrong with it; undefined when nothing is. */
export function cronProblem(cron: string): string | undefined {
  if (!cron.startsWith('@') && cron.trim().split(/\s+/).length !== FIELDS) return 'Five fields: minute, hour, day, month, weekday.';
  try {
    open({ cron, timeZone: 'UTC' });
    return undefined;
  } catch (error) {
    return (error as Error).message.replace(/^CronPattern: /, '');
  }
}

/** Whether it comes round at least as often: asked on every day of a week, or of a year and one more for leap days. */
export function comesWithin(cron: string, ms: number): boolean {
  const [, , ofMonth, month] = cron.trim().split(/\s+/);
  const days = ofMonth === '*' && month === '*' ? 8 : 731;
  return Array.from({ length: days }, (_, day) => new Date(Date.UTC(2024, 0, 1 + day))).every((at) => {
    const next = nextRun({ cron, timeZone: 'UTC' }, at);
    return next !== null && next.getTime() - at.getTime() <= ms;
  });
}

/** Null: never again. */
export function nextRun(rule: CronRule, after: Date): Date | null {
  const next = open(rule).nextRun(after);
  return next && isFixed(rule) ? (firstLeftOut(rule, after, next) ?? next) : next;
}

export function nextRuns(rule: CronRule, after: Date, count: number): Date[] {
  const runs: Date[] = [];
  for (let next = nextRun(rule, after); next && runs.length < count; next = nextRun(rule, next)) runs.push(next);
  return runs;
}

/** The last time that is not after `until`; null: there was none. */
export function latestRun(rule: CronRule, until: Date): Date | null {
  const latest = open(rule).previousRuns(1, new Date(until.getTime() + 1))[0] ?? null;
  return latest && isFixed(rule) ? (lastLeftOut(rule, until, latest) ?? latest) : latest;
}

/** A time of day, and no `*` or step that follows the clock. */
function isFixed({ cron }: CronRule): boolean {
  const [minute = '', hour = ''] = cron.trim().split(/\s+/);
  return cron.startsWith('@') ? !/^@hourly$/i.test(cron) : !/[*/?]/.test(`${minute}${hour}`);
}

/** `croner` looks for what a jump leaves out on the day to which the clock jumps: a jump to midnight (America/Nuuk) hides it. */
function firstLeftOut(rule: CronRule, after: Date, before: Date): Date | null {
  for (let jump = jumpAfter(after, before, rule.timeZone); jump; jump = jumpAfter(jump.at, before, rule.timeZone))
    if (isLeftOut(rule, jump)) return jump.at;
  return null;
}

function lastLeftOut(rule: CronRule, until: Date, after: Date): Date | null {
  for (let jump = jumpBefore(until, after, rule.timeZone); jump; jump = jumpBefore(new Date(jump.at.getTime() - 1), after, rule.timeZone))
    if (isLeftOut(rule, jump)) return jump.at;
  return null;
}

function isLeftOut({ cron }: CronRule, { from, to }: Jump): boolean {
  const run = open({ cron, timeZone: 'UTC' }).nextRun(new Date(from.getTime() - 1));
  return run !== null && run < to;
}
