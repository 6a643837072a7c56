/** What templates can name: the event, its data, and who reads. */
import type { ListedItem } from '../domain/digest.ts';
import type { Reader } from '../domain/event-type.ts';
import type { Severity } from '../domain/event.ts';
import type { TenantSettings } from '../domain/tenant.ts';
import { publicId } from '../lib/id.ts';
import { absoluteLink } from '../lib/link.ts';
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

/** Where it is said. */
export interface Place {
  readonly productName: string;
  readonly tenant: Pick<TenantSettings, 'base_url' | 'locale'>;
}

export function scopeFor(
  { definition }: Version,
  { eventId, type, severity, tags, acceptedAt, data, actionUrl }: About,
  { reader, productName, tenant }: Place & { reader: Reader },
): Scope {
  const { title, category } = definition;
  const event = { id: publicId('evt', eventId), type, title, category, severity, tags, accepted_at: acceptedAt.toISOString() };
  const user = { id: reader.id, locale: reader.locale, time_zone: reader.timeZone, attributes: reader.attributes };
  const baseUrl = tenant.base_url ?? null;
  const link = actionUrl === null ? null : absoluteLink(actionUrl, baseUrl);
  const values = { data, event, user, action_url: link, product_name: productName, base_url: baseUrl };
  return { values, locale: reader.locale ?? tenant.locale ?? null, baseUrl };
}

/** `items` as the message lists them, `subject` and `body` as they are without templates. */
export function digestScope(
  { definition }: Version,
  { type, data, subject, body }: Pick<About, 'type' | 'data'> & NotificationText,
  { reader, productName, tenant }: Place & { reader: Reader },
): Scope {
  const { title, category } = definition;
  const baseUrl = tenant.base_url ?? null;
  const listed = (Array.isArray(data['items']) ? data['items'] : []) as readonly ListedItem[];
  const items = listed.map((item) => ({ ...item, action_url: item.action_url && absoluteLink(item.action_url, baseUrl) }));
  const user = { id: reader.id, locale: reader.locale, time_zone: reader.timeZone, attributes: reader.attributes };
  const values = { items, count: items.length, event: { type, title, category }, user, subject, body };
  const rest = { product_name: productName, base_url: baseUrl };
  return { values: { ...values, ...rest }, locale: reader.locale ?? tenant.locale ?? null, baseUrl, digest: true };
}

/** In the order of the readers. What is the same for all of them is rendered once. */
export async function textsOf(
  version: Version,
  about: About,
  { readers, ...place }: Place & { readers: readonly Reader[] },
): Promise<readonly Rendered<NotificationText>[]> {
  const wanted = version.personal ? readers : readers.slice(0, 1);
  const made = await version.notifications(wanted.map((reader) => scopeFor(version, about, { reader, ...place })));
  return version.personal ? made : readers.flatMap(() => made);
}
