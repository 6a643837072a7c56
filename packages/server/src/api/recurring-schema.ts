/** Recurring events as they are sent and answered. */
import { z } from 'zod';
import { CarillonError, type FieldError } from '../domain/error.ts';
import { timeAfter, type Runs, type Series, type Timing } from '../domain/recurring.ts';
import { cronProblem, nextRuns } from '../lib/cron.ts';
import { publicId } from '../lib/id.ts';
import type { StoredSeries } from '../store/recurring-events.ts';
import { eitherOf, eitherShape } from './either-schema.ts';
import type { AddressChecks, ChannelChecks } from './event-schema.ts';
import { timestamp, toWire, wireTime } from './schema.ts';
import { timeZone } from './user-schema.ts';

const MAX_CRON = 200;
const SHOWN_TIMES = 5;

const cron = z
  .string()
  .max(MAX_CRON)
  .check((context) => {
    const problem = cronProblem(context.value);
    if (problem !== undefined)
      context.issues.push({ code: 'custom', input: context.value, message: problem, params: { code: 'invalid_cron' }, continue: true });
  })
  .describe('Minute, hour, day, month, weekday; or @hourly, @daily, @weekly, @monthly, @yearly.');

export function recurringSchemas(checks: AddressChecks & ChannelChecks) {
  const content = z.strictObject(eitherShape(checks)).omit({ scheduled_for: true, expires_at: true, idempotency_key: true });
  const fields = {
    name: z.string().trim().min(1).max(128),
    event: eitherOf(content).describe('A body of POST /v1/events or of POST /v1/notifications, without times and key of its own.'),
    cron,
    time_zone: timeZone.describe('IANA name: the clock that `cron` means.'),
    starts_at: timestamp.nullable(),
    ends_at: timestamp.nullable().describe('The last time is not after it.'),
    active: z.boolean().describe('false: paused.'),
  };
  const created = z.strictObject({
    ...fields,
    time_zone: fields.time_zone.default('UTC'),
    starts_at: fields.starts_at.default(null),
    ends_at: fields.ends_at.default(null),
    active: fields.active.default(true),
  });
  return { created, changed: z.strictObject(fields).partial() };
}

type Created = z.output<ReturnType<typeof recurringSchemas>['created']>;
type Changed = z.output<ReturnType<typeof recurringSchemas>['changed']>;
type Settings = Omit<Series, 'tenantId' | 'id'>;

export function toSeries(wire: Created): Settings {
  const { name, event, cron: rule, time_zone: zone, starts_at: startsAt, ends_at: endsAt, active } = wire;
  return { name, content: { ...event }, cron: rule, timeZone: zone, startsAt, endsAt, active };
}

/** What is not sent stays as it is. */
export function mergedSeries(now: Series, wire: Changed): Series {
  return {
    ...now,
    name: wire.name ?? now.name,
    content: wire.event ? { ...wire.event } : now.content,
    cron: wire.cron ?? now.cron,
    timeZone: wire.time_zone ?? now.timeZone,
    startsAt: wire.starts_at === undefined ? now.startsAt : wire.starts_at,
    endsAt: wire.ends_at === undefined ? now.endsAt : wire.ends_at,
    active: wire.active ?? now.active,
  };
}

/** Whether the next time has to be reckoned again. */
export function movesTimes(wire: Changed): boolean {
  return [wire.cron, wire.time_zone, wire.starts_at, wire.ends_at, wire.active].some((value) => value !== undefined);
}

/** Throws `schedule_invalid` for a series that would never have a time. */
export function firstTime(series: Timing & Pick<Series, 'active'>, after: Date, runs: Pick<Runs, 'next'>): Date | null {
  if (series.startsAt && series.endsAt && series.endsAt <= series.startsAt) refuse('/ends_at', 'It must lie after `starts_at`.');
  if (!series.active) return null;
  const next = timeAfter(series, after, runs);
  if (next === null) refuse(series.endsAt ? '/ends_at' : '/cron', 'There is no time left.');
  return next;
}

function refuse(pointer: string, detail: string): never {
  throw new CarillonError('schedule_invalid', detail, { errors: [{ pointer, code: 'schedule_invalid', detail }] });
}

/** What is wrong with the event stands below `event`. */
export function belowEvent(error: unknown): unknown {
  if (!(error instanceof CarillonError)) return error;
  const errors = error.errors.map((one): FieldError => ({ ...one, pointer: `/event${one.pointer}` }));
  return new CarillonError(error.code, error.message, { errors });
}

export const RecurringAnswer = z.object({
  id: z.string(),
  name: z.string(),
  event: z.record(z.string(), z.unknown()),
  cron: z.string(),
  time_zone: z.string(),
  starts_at: wireTime.nullable(),
  ends_at: wireTime.nullable(),
  active: z.boolean(),
  next_at: wireTime.nullable().describe('Null: paused, or over.'),
  last: z
    .object({
      at: wireTime,
      event_id: z.string().nullable(),
      error: z.object({ code: z.string(), detail: z.string() }).nullable().describe('Why that time has no event.'),
    })
    .nullable()
    .describe('The time that was last.'),
  created_at: wireTime,
  updated_at: wireTime,
});
export const RecurringDetail = RecurringAnswer.extend({ next_times: z.array(wireTime).describe(`The next ${SHOWN_TIMES}.`) });

export function viewSeries(series: StoredSeries): z.output<typeof RecurringAnswer> {
  const { lastAt, lastEventId, lastError } = series;
  return {
    id: publicId('rec', series.id),
    name: series.name,
    event: { ...series.content },
    cron: series.cron,
    time_zone: series.timeZone,
    starts_at: toWire(series.startsAt),
    ends_at: toWire(series.endsAt),
    active: series.active,
    next_at: toWire(series.nextAt),
    last: lastAt && { at: toWire(lastAt), event_id: lastEventId && publicId('evt', lastEventId), error: lastError },
    created_at: toWire(series.createdAt),
    updated_at: toWire(series.updatedAt),
  };
}

export function viewWithTimes(series: StoredSeries): z.output<typeof RecurringDetail> {
  const { nextAt, endsAt } = series;
  const times = nextAt ? [nextAt, ...nextRuns(series, nextAt, SHOWN_TIMES - 1)] : [];
  return { ...viewSeries(series), next_times: times.filter((time) => !endsAt || time <= endsAt).map((time) => toWire(time)) };
}
