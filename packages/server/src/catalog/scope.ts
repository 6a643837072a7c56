/** What templates can name: the event, its data, and who reads. */
import type { Reader } from '../domain/event-type.ts';
import type { Severity } from '../domain/event.ts';
import { publicId } from '../lib/id.ts';
import type { NotificationText } from './content.ts';
import type { Rendered, Scope } from './liquid.ts';
import type { Version } from './version.ts';

export interface About {
  readonly eventId: string;
  readonly type: string;
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly acceptedAt: Date;
  readonly data: Readonly<Record<string, unknown>>;
  readonly actionUrl: string | null;
}

export function scopeFor(
  { definition }: Version,
  { eventId, type, severity, tags, acceptedAt, data, actionUrl }: About,
  { reader, productName }: { reader: Reader; productName: string },
): Scope {
  const { title, category } = definition;
  const event = { id: publicId('evt', eventId), type, title, category, severity, tags, accepted_at: acceptedAt.toISOString() };
  const user = { id: reader.id, locale: reader.locale, time_zone: reader.timeZone, attributes: reader.attributes };
  // A path means nothing outside the inbox.
  const link = actionUrl?.startsWith('/') ? null : actionUrl;
  return { values: { data, event, user, action_url: link, product_name: productName }, locale: reader.locale, baseUrl: null };
}

/** In the order of the readers. What is the same for all of them is rendered once. */
export async function textsOf(
  version: Version,
  about: About,
  { readers, productName }: { readers: readonly Reader[]; productName: string },
): Promise<readonly Rendered<NotificationText>[]> {
  const wanted = version.personal ? readers : readers.slice(0, 1);
  const made = await version.notifications(wanted.map((reader) => scopeFor(version, about, { reader, productName })));
  return version.personal ? made : readers.flatMap(() => made);
}
