/** What would become of an event at a time of one's choice: who would be told, what, and why not. */
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { CarillonEvent } from '../../domain/event.ts';
import { LAYERS } from '../../domain/preference.ts';
import { eventAt, type DoorDeps } from '../door.ts';
import { eitherOf, eitherShape } from '../either-schema.ts';
import type { AddressChecks, ChannelChecks, EventWire } from '../event-schema.ts';
import { viewPreview, type Previewed } from '../preview-view.ts';
import type { App } from '../request.ts';
import { timestamp, wireTime } from '../schema.ts';

export interface PreviewDeps extends Pick<DoorDeps, 'eventType' | 'maxScheduleDays' | 'now'>, AddressChecks, ChannelChecks {
  /** At most `limit` recipients are decided and rendered; the others are counted. */
  readonly preview: (event: CarillonEvent, limit: number) => Promise<Previewed>;
}

/** Whole mails are in the answer. */
const MAX_RECIPIENTS = 25;
const DAY_MS = 86_400_000;

/** It says what the event's own page would say, and writes nothing. */
const READ = { auth: { kind: 'key', scope: 'events:read' } } as const;

const decision = {
  channel: z.string().describe('`*` for a recipient who is not told at all.'),
  result: z.enum(['deliver', 'hold', 'skip']),
  reason: z.string().nullable().describe('Null: nothing stops it.'),
  sentence: z.string(),
  hint: z.string(),
  said_by: z.enum(LAYERS).nullable().describe('The preference that decided it; null: none.'),
  held_until: wireTime.nullable().describe('Null with `hold`: until a person releases it.'),
  address: z.string().nullable().describe('Masked.'),
  content: z
    .unknown()
    .describe(
      'As the channel sends it: a mail’s subject, HTML and text, the JSON for Slack or Teams, the body of a webhook. Of what is skipped too.',
    ),
  warnings: z.array(z.string()).describe('What the templates of this channel missed, or why they made nothing.'),
};

const Preview = z.object({
  type: z.string(),
  version: z.string().nullable().describe('Of its event type. Null: the catalog has none.'),
  at: wireTime.describe('When it is decided: `at`, or `scheduled_for` where there is one.'),
  expires_at: wireTime.nullable(),
  severity: z.string(),
  tags: z.array(z.string()),
  category: z.string().nullable(),
  critical: z.boolean(),
  data: z.record(z.string(), z.unknown()).describe('With the defaults of its type.'),
  action_url: z.string().nullable(),
  warnings: z.array(z.string()).describe('What its event type found missing or unfit, and let pass.'),
  recipient_count: z.int().describe('Everybody whom it addresses.'),
  truncated: z.boolean().describe(`More than the ${MAX_RECIPIENTS} that are shown.`),
  recipients: z.array(
    z.object({
      user_id: z.string(),
      subject: z.string().nullable(),
      body: z.string().nullable(),
      warnings: z.array(z.string()).describe('What the templates of subject and body missed.'),
      channels: z.array(z.object(decision)),
    }),
  ),
  destinations: z.array(z.object({ destination_id: z.string().nullable(), name: z.string(), ...decision })),
});

export function previewRoutes(app: App, deps: PreviewDeps): void {
  const body = bodySchema(deps);
  app.post('/v1/events/preview', { config: READ, schema: { body, writesNothing: true, response: { 200: Preview } } }, async (request) => {
    const { at, ...wire } = request.body;
    const event = await eventAt(deps, request, { wire, at: timeOf(at, deps) });
    return viewPreview(event, await deps.preview(event, MAX_RECIPIENTS));
  });
}

function bodySchema(deps: PreviewDeps): z.ZodType<EventWire & { readonly at?: Date | undefined }> {
  const at = timestamp.optional().describe('As if it were sent then, with everything else as it is now. Absent: now.');
  return eitherOf(z.strictObject({ ...eitherShape(deps), at }));
}

function timeOf(at: Date | undefined, { now, maxScheduleDays }: PreviewDeps): Date {
  if (!at) return now();
  if (Math.abs(at.getTime() - now().getTime()) <= maxScheduleDays * DAY_MS) return at;
  const detail = `It may lie at most ${maxScheduleDays} days from now, before or after.`;
  throw new CarillonError('schedule_invalid', detail, { errors: [{ pointer: '/at', code: 'schedule_invalid', detail }] });
}
