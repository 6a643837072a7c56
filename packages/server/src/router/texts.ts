/** What templates say to each recipient, for events whose type has any: written once, when they are routed. */
import { contentOf } from '../domain/content.ts';
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { MadeText, Reader } from '../domain/event-type.ts';
import type { NewNotification } from '../domain/notification.ts';
import { derivedId } from '../lib/id.ts';
import type { Decision } from './decide.ts';
import type { Decided } from './suppression.ts';

/** In the order of the readers. */
export type WriteTexts = (tx: Tx, event: CarillonEvent, readers: readonly Reader[]) => Promise<readonly MadeText[]>;

export type Texts = ReadonlyMap<Decided, MadeText>;

const NONE: Texts = new Map();

/** Events without a version cost nothing here. */
export function textsFor(write: WriteTexts, tx: Tx, decided: readonly Decided[]): Texts | Promise<Texts> {
  return decided.some(isTold) ? writeAll(write, tx, decided.filter(isTold)) : NONE;
}

function isTold({ event, decisions }: Decided): boolean {
  return event.version !== null && decisions.some(({ kind }) => kind !== 'skip');
}

async function writeAll(write: WriteTexts, tx: Tx, decided: readonly Decided[]): Promise<Texts> {
  const texts = new Map<Decided, MadeText>();
  const writing = [...Map.groupBy(decided, (one) => one.event)].map(async ([event, ones]) => {
    const made = await write(tx, event, ones.map(readerOf));
    ones.forEach((one, at) => {
      const text = made[at];
      if (text) texts.set(one, text);
    });
  });
  await Promise.all(writing);
  return texts;
}

export function readerOf({ addressee: { userId, user } }: Pick<Decided, 'addressee'>): Reader {
  return { id: userId, locale: user?.locale ?? null, timeZone: user?.timeZone ?? null, attributes: user?.attributes ?? {} };
}

/** A text that could not be made reaches nobody, on no channel; why is recorded for each. */
export function withoutText(decisions: readonly Decision[]): Decision[] {
  return decisions.map((decision) =>
    decision.kind === 'skip' ? decision : { kind: 'skip', channel: decision.channel, reason: 'template_failed', layer: null },
  );
}

export function notificationFor(
  event: CarillonEvent,
  userId: string,
  { inApp, text }: { inApp: boolean; text: MadeText | undefined },
): NewNotification {
  return {
    ...contentOf(event),
    ...(text?.ok && { subject: text.subject, body: text.body }),
    id: derivedId(event.dueAt, event.id, userId),
    tenantId: event.tenantId,
    eventId: event.id,
    userId,
    type: event.type,
    createdAt: event.dueAt,
    inApp,
    warnings: warningsOf(text),
  };
}

function warningsOf(text: MadeText | undefined): readonly string[] | undefined {
  if (!text) return undefined;
  const all = text.ok ? text.warnings : [...text.warnings, text.detail];
  return all.length > 0 ? all : undefined;
}
