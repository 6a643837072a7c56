/** Preferences as routes handle them: checked against the profile, kept, explained. Secrets that are addresses are answered masked. */
import type { AddressRule } from '../domain/channel.ts';
import { CarillonError, type FieldError } from '../domain/error.ts';
import type { Tx } from '../domain/event.ts';
import {
  NO_PREFERENCES,
  type ChannelPreference,
  type ChannelPreferences,
  type Layer,
  type Preferences,
  type Subject,
} from '../domain/preference.ts';
import { REASONS, type ReasonCode } from '../domain/reason.ts';
import type { Recipient, User } from '../domain/user.ts';
import type { Database } from '../store/database.ts';
import { getPreferences, putPreferences, recheckHeld, type Defaults } from '../store/preferences.ts';
import { getUser, type UserKey } from '../store/users.ts';
import { pointerOf } from './body.ts';
import type { AddressChecks } from './event-schema.ts';
import { maskAddress } from './event-view.ts';
import type { KnownChannels } from './preference-schema.ts';
import { toWire } from './schema.ts';

/** What routing would decide for one channel. */
export interface Explained {
  readonly kind: 'deliver' | 'hold' | 'digest' | 'skip';
  readonly channel: string;
  readonly layer?: Layer | null;
  readonly address?: string | null;
  readonly reason?: ReasonCode;
  readonly until?: Date;
}

export interface PreferenceDeps extends AddressChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly channels: KnownChannels;
  readonly defaults: Pick<Defaults, 'read' | 'forget'>;
  readonly explain: (
    owner: { readonly tenantId: string; readonly user: Recipient },
    subject: Subject,
    when: { readonly at: Date; readonly defaults: Preferences | undefined },
  ) => readonly Explained[];
  readonly now: () => Date;
  /** What was held may be due now. */
  readonly wake: () => void;
}

/** Throws `invalid` when a channel is switched on that has no address. */
export async function replacePreferences(deps: PreferenceDeps, key: UserKey, wanted: Preferences): Promise<Preferences> {
  const { database, channels, wake } = deps;
  const { stored, held } = await database.asTenant(key.tenantId, async (tx) => {
    const [user, before] = [await getUser(tx, key), await getPreferences(tx, key)];
    const preferences = withSecrets(inOwnWords(wanted, channels), before ?? NO_PREFERENCES, channels);
    refuseUnreachable(preferences, user, channels);
    await putPreferences(tx, key, preferences);
    return { stored: preferences, held: await recheckHeld(tx, key.tenantId, [key.id]) };
  });
  if (held > 0) wake();
  return masked(stored, channels);
}

/** Undefined for a user that is not there. */
export async function readPreferences(
  { channels }: Pick<PreferenceDeps, 'channels'>,
  tx: Tx,
  key: UserKey,
): Promise<Preferences | undefined> {
  const stored = await getPreferences(tx, key);
  return stored && masked(stored, channels);
}

type Group = 'channels' | 'categories' | 'event_types';

/** Each channel's preference, wherever it stands, replaced by what `change` makes of it. */
function mapChannels(
  { channels, categories, event_types: types, ...rest }: Preferences,
  change: (preference: ChannelPreference, path: readonly string[]) => ChannelPreference,
): Preferences {
  const each = (record: ChannelPreferences, path: readonly string[]): ChannelPreferences =>
    Object.fromEntries(
      Object.entries(record).flatMap(([name, preference]) => (preference ? [[name, change(preference, [...path, name])]] : [])),
    );
  const groups = (record: Readonly<Record<string, ChannelPreferences>>, group: Group) =>
    Object.fromEntries(Object.entries(record).map(([name, inner]) => [name, each(inner, [group, name])]));
  return {
    ...rest,
    channels: each(channels, ['channels']),
    ...(categories && { categories: groups(categories, 'categories') }),
    ...(types && { event_types: groups(types, 'event_types') }),
  };
}

function masked(preferences: Preferences, known: KnownChannels): Preferences {
  return mapChannels(preferences, (preference, path) => {
    const rule = known.get(path.at(-1) ?? '')?.address;
    const address = rule?.secret ? preference[rule.field] : undefined;
    return rule && typeof address === 'string' ? { ...preference, [rule.field]: maskAddress(address) } : preference;
  });
}

/** Under the channel's own name for it. Throws `invalid` where the two names say different things. */
function inOwnWords(preferences: Preferences, known: KnownChannels): Preferences {
  return mapChannels(preferences, (preference, path) => {
    const { field = '', alias = '' } = known.get(path.at(-1) ?? '')?.address ?? {};
    const { [alias]: second, ...rest } = preference;
    if (second === undefined) return preference;
    if (rest[field] !== undefined && rest[field] !== second) {
      const detail = `It is the same as ${field}: give one of them.`;
      throw new CarillonError('invalid', detail, { errors: [{ pointer: pointerOf([...path, alias]), code: 'invalid_value', detail }] });
    }
    return { ...rest, [field]: second };
  });
}

/** What was read masked may be sent back as it is: the address stays. */
function withSecrets(wanted: Preferences, before: Preferences, known: KnownChannels): Preferences {
  const shown = new Map<string, unknown>();
  mapChannels(before, (preference, path) => {
    const rule = known.get(path.at(-1) ?? '')?.address;
    if (rule?.secret) shown.set(pointerOf(path), preference[rule.field]);
    return preference;
  });
  return mapChannels(wanted, (preference, path) => {
    const rule = known.get(path.at(-1) ?? '')?.address;
    const secret = shown.get(pointerOf(path));
    if (!rule?.secret || typeof secret !== 'string' || preference[rule.field] !== maskAddress(secret)) return preference;
    return { ...preference, [rule.field]: secret };
  });
}

function refuseUnreachable(preferences: Preferences, user: User | undefined, known: KnownChannels): void {
  const errors: FieldError[] = [];
  mapChannels(preferences, (preference, path) => {
    const name = path.at(-1) ?? '';
    const rule = known.get(name)?.address;
    if (preference.enabled !== true || !rule) return preference;
    const { field, words } = rule;
    const addresses = [preference[field], preferences.channels[name]?.[field], inProfile(user, rule)];
    if (!addresses.some((address) => typeof address === 'string'))
      errors.push({ pointer: pointerOf([...path, field]), code: 'required', detail: `To be switched on, it needs ${words}.` });
    return preference;
  });
  if (errors.length > 0) throw new CarillonError('invalid', 'A channel is switched on that has no address.', { errors });
}

function inProfile(user: User | undefined, { profile }: AddressRule): string | null {
  if (!user || profile === null) return null;
  return { email: user.email, phone: user.phone, webhook_url: user.webhookUrl }[profile];
}

const NOTHING_STOPS_IT = { reason: null, sentence: 'Nothing stops it.', hint: 'Nothing to do.' };

export function viewExplained({ kind, channel, layer, address, reason, until }: Explained) {
  const why = reason === undefined ? NOTHING_STOPS_IT : { reason, sentence: REASONS[reason].sentence, hint: REASONS[reason].hint };
  return {
    channel,
    result: kind === 'digest' ? 'hold' : kind,
    ...why,
    said_by: layer ?? null,
    held_until: toWire(until ?? null),
    address: maskAddress(address ?? null),
  };
}
