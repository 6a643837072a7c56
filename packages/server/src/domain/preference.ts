/**
 * What a person wants to be told, where and when. One function decides by it: when routing, again before each send, and
 * for whoever asks why. Fields have the names that they have on the wire, and are stored as they came.
 */
import { IN_APP, type ChannelName } from './channel.ts';
import type { Severity } from './event.ts';
import type { QuietHours } from './quiet-hours.ts';

/** About one channel. What is absent is left to the next layer; an empty list filters nothing. */
export interface ChannelPreference {
  readonly enabled?: boolean | undefined;
  readonly severities?: readonly Severity[] | undefined;
  /** At least one of them. */
  readonly include_tags?: readonly string[] | undefined;
  /** None of them: wins over `include_tags`. */
  readonly exclude_tags?: readonly string[] | undefined;
  readonly quiet_hours?: QuietHours | undefined;
  /** `15m`: what comes within that time is one message. `off`: at once. */
  readonly digest?: string | undefined;
  /** An address of its own, under the name that the channel gives it. */
  readonly [field: string]: unknown;
}

export type ChannelPreferences = Readonly<Partial<Record<ChannelName, ChannelPreference>>>;

export interface Preferences {
  readonly channels: ChannelPreferences;
  readonly categories?: Readonly<Record<string, ChannelPreferences>> | undefined;
  readonly event_types?: Readonly<Record<string, ChannelPreferences>> | undefined;
  /** For all channels. */
  readonly quiet_hours?: QuietHours | undefined;
}

export const NO_PREFERENCES: Preferences = { channels: {} };

/** Who has said it, from the one that is heard first. */
const USER_LAYERS = ['event_type', 'category', 'channel', 'user'] as const;
const TENANT_LAYERS = ['defaults.event_type', 'defaults.category', 'defaults.channel', 'defaults'] as const;
export const LAYERS = [...USER_LAYERS, ...TENANT_LAYERS] as const;
export type Layer = (typeof LAYERS)[number];

/** What an event is about, as far as preferences care. */
export interface Subject {
  readonly type: string;
  /** Of its type, in the catalog. */
  readonly category: string | null;
  readonly severity: Severity;
  readonly tags: readonly string[];
  /** Overrides all that a preference stops or holds, never suppression. */
  readonly critical: boolean;
}

export interface About extends Subject {
  readonly channel: ChannelName;
  readonly address: string | null;
}

export interface Person {
  readonly active: boolean;
  readonly timeZone: string | null;
  readonly preferences: Preferences;
  /** Channel → the address that was refused for good. */
  readonly suppressed: Readonly<Partial<Record<ChannelName, string>>>;
}

/** Until when these hours are quiet in that zone, or null when they are not. Knows what time it is. */
export type QuietUntil = (hours: QuietHours, zone: string) => Date | null;

export type StopReason = 'user_inactive' | 'opted_out' | 'suppressed' | 'severity_filtered' | 'tag_excluded' | 'tag_not_included';

/** `layer`: who has said it; null when nobody has, or when it is no matter of preference. */
export type Verdict =
  | { readonly kind: 'open'; readonly layer: Layer | null; readonly digest?: DigestWish | undefined }
  | { readonly kind: 'stop'; readonly reason: StopReason; readonly layer: Layer | null }
  | { readonly kind: 'hold'; readonly until: Date; readonly layer: Layer; readonly digest?: DigestWish | undefined };

/** What the person, or the tenant for everybody, wants of digests. */
export interface DigestWish {
  readonly value: string;
  readonly layer: Layer;
}

const PASS_QUIET_HOURS: readonly Severity[] = ['urgent'];
const DEFAULT_ZONE = 'UTC';

/** An opt-out covers inline addresses too. The inbox is never held: its badge would not know of what is coming. */
export function verdictOf(
  person: Person,
  about: About,
  { defaults, quietUntil }: { defaults: Preferences | undefined; quietUntil: QuietUntil },
): Verdict {
  const stop = (reason: StopReason): Verdict => ({ kind: 'stop', reason, layer: null });
  if (!person.active) return stop('user_inactive');
  const { channel, address, critical } = about;
  const layers = critical ? NOTHING_SAID : heard(person.preferences, defaults, about);
  const refused = refusal(layers, about);
  if (refused) return { kind: 'stop', ...refused };
  if (address !== null && person.suppressed[channel] === address) return stop('suppressed');
  const held = hold(layers, about, { zone: person.timeZone ?? DEFAULT_ZONE, quietUntil });
  const digest = said(layers, 'digest');
  return held ? { ...held, digest } : { kind: 'open', layer: said(layers, 'enabled')?.layer ?? null, digest };
}

/** The address that the preference itself names, from the layer that is heard first. The tenant's defaults have none. */
export function ownAddress(preferences: Preferences, about: Pick<About, 'channel' | 'type' | 'category'>, field: string): string | null {
  const address = said(layersOf(preferences, about, USER_LAYERS), field)?.value;
  return typeof address === 'string' ? address : null;
}

interface Spoken {
  readonly layer: Layer;
  readonly preference: ChannelPreference;
}

const NOTHING_SAID: readonly Spoken[] = [];

function heard(own: Preferences, defaults: Preferences | undefined, about: About): readonly Spoken[] {
  const [first, second] = [layersOf(own, about, USER_LAYERS), layersOf(defaults, about, TENANT_LAYERS)];
  return second.length === 0 ? first : [...first, ...second];
}

/** `names`: of the event type's, the category's, the channel's and everything's layer, in this order. */
function layersOf(
  preferences: Preferences | undefined,
  { channel, type, category }: Pick<About, 'channel' | 'type' | 'category'>,
  names: readonly Layer[],
): readonly Spoken[] {
  if (!preferences || preferences === NO_PREFERENCES) return NOTHING_SAID;
  const { channels, categories, event_types: types, quiet_hours: quietHours } = preferences;
  const found = [
    own(own(types, type), channel),
    category === null ? undefined : own(own(categories, category), channel),
    own(channels, channel),
    quietHours && { quiet_hours: quietHours },
  ];
  return found.flatMap((preference, index) => {
    const layer = names[index];
    return preference && layer ? [{ layer, preference }] : [];
  });
}

/** Callers choose the names: `constructor` is one like any other. */
function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record && Object.hasOwn(record, name) ? record[name] : undefined;
}

function said<K extends keyof ChannelPreference>(
  layers: readonly Spoken[],
  field: K,
): { value: NonNullable<ChannelPreference[K]>; layer: Layer } | undefined {
  for (const { layer, preference } of layers) {
    const value = preference[field];
    if (value !== undefined && value !== null) return { value, layer };
  }
  return undefined;
}

interface Refusal {
  readonly reason: StopReason;
  readonly layer: Layer;
}

function refusal(layers: readonly Spoken[], { severity, tags }: About): Refusal | undefined {
  const enabled = said(layers, 'enabled');
  if (enabled?.value === false) return { reason: 'opted_out', layer: enabled.layer };
  const severities = said(layers, 'severities');
  if (severities && !admits(severities.value, [severity])) return { reason: 'severity_filtered', layer: severities.layer };
  const excluded = said(layers, 'exclude_tags');
  if (excluded?.value.some((tag) => tags.includes(tag))) return { reason: 'tag_excluded', layer: excluded.layer };
  const included = said(layers, 'include_tags');
  if (included && !admits(included.value, tags)) return { reason: 'tag_not_included', layer: included.layer };
  return undefined;
}

/** An empty list filters nothing. */
function admits(wanted: readonly string[], given: readonly string[]): boolean {
  return wanted.length === 0 || wanted.some((one) => given.includes(one));
}

type Held = Extract<Verdict, { kind: 'hold' }>;

function hold(
  layers: readonly Spoken[],
  { channel, severity }: About,
  { zone, quietUntil }: { zone: string; quietUntil: QuietUntil },
): Held | undefined {
  if (channel === IN_APP) return undefined;
  const quiet = said(layers, 'quiet_hours');
  if (!quiet?.value.enabled || (quiet.value.let_through ?? PASS_QUIET_HOURS).includes(severity)) return undefined;
  const until = quietUntil(quiet.value, quiet.value.time_zone ?? zone);
  return until === null ? undefined : { kind: 'hold', until, layer: quiet.layer };
}
