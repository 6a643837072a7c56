/** Whom an event addresses: named one by one, or as a set that is read from the users in chunks. */
import type { InlineUser, RecipientRule } from '../domain/event.ts';

/** A set of users that only the database can list. */
export interface Audience {
  readonly roles: readonly string[];
  readonly topics: readonly string[];
  readonly all: boolean;
  /** Users seen within that many milliseconds. */
  readonly activeWithinMs: number | null;
}

export interface Addressed {
  /** In order, each once: the first address per channel wins. */
  readonly named: ReadonlyMap<string, InlineUser | undefined>;
  readonly audience: Audience | null;
}

export function addressed(rules: readonly RecipientRule[]): Addressed {
  const named = new Map<string, InlineUser | undefined>();
  const sets: SetRule[] = [];
  for (const rule of rules) {
    if (typeof rule === 'string') named.set(rule, named.get(rule));
    else if ('user_id' in rule) named.set(rule.user_id, merged(named.get(rule.user_id), rule));
    else sets.push(rule);
  }
  return { named, audience: sets.length > 0 ? audienceOf(sets) : null };
}

type SetRule = Exclude<RecipientRule, string | InlineUser>;

function audienceOf(rules: readonly SetRule[]): Audience {
  const within = rules.flatMap((rule) => ('active_within' in rule ? [durationMs(rule.active_within)] : []));
  return {
    roles: rules.flatMap((rule) => ('role' in rule ? [rule.role] : [])),
    topics: [...new Set(rules.flatMap((rule) => ('topic' in rule ? [rule.topic] : [])))],
    all: rules.some((rule) => 'all' in rule),
    activeWithinMs: within.length > 0 ? Math.max(...within) : null,
  };
}

function merged(first: InlineUser | undefined, second: InlineUser): InlineUser {
  return first ? { ...second, ...first } : second;
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `30d`, `12h`, `90m`, `45s`: checked at the door. */
function durationMs(text: string): number {
  return Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] ?? Number.NaN);
}
