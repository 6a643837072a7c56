/** What the catalog knows of a type of event, as the stages see it. */
import type { ChannelName } from './channel.ts';
import type { Delay, EventThrottle, RecipientRule, Severity, TypeDigest } from './event.ts';

/** The files of one type, by their path below its folder, with the layouts and partials that they use (`_layouts/…`, `_partials/…`). */
export type EventTypeFiles = Readonly<Record<string, string>>;

/** One immutable version: the same files always make the same one. */
export interface EventTypeVersion {
  readonly type: string;
  /** UUID, made from the content. */
  readonly version: string;
  readonly files: EventTypeFiles;
}

/** What people are shown of a type. */
export interface EventTypeSummary {
  readonly title: string | null;
  readonly category: string | null;
  readonly severity: Severity;
  readonly critical: boolean;
  readonly channels: readonly ChannelName[];
}

/** The request's own words on what the catalog would else decide. */
export interface Asked {
  readonly data: Readonly<Record<string, unknown>>;
  readonly to: readonly RecipientRule[];
  readonly severity: Severity | undefined;
  readonly tags: readonly string[] | undefined;
  readonly channels: readonly ChannelName[] | undefined;
  readonly actionUrl: string | undefined;
  /** Whom the tenant means by `default`; undefined: it has not said. */
  readonly defaults?: readonly RecipientRule[] | undefined;
}

/** What an event is accepted with, once its type has had its say. */
export interface Filled {
  readonly version: string;
  /** Defaults filled in. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly to: readonly RecipientRule[];
  /** User ids. */
  readonly exclude: readonly string[];
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly channels: readonly ChannelName[] | undefined;
  readonly critical: boolean;
  readonly category: string | undefined;
  readonly expiresAfterMs: number | null;
  readonly digest: TypeDigest | undefined;
  readonly throttle: EventThrottle | undefined;
  /** Whether the account's destinations are told; undefined: the type does not say, and they are told of what has recipients. */
  readonly destinations: boolean | undefined;
  readonly delays: Readonly<Record<ChannelName, Delay>> | undefined;
  readonly actionUrl: string | undefined;
  /** What was missing or did not fit, and did not stop it. */
  readonly warnings: readonly string[];
  /** Its texts were written by the tenant, and may take their time. */
  readonly tenantTemplates: boolean;
}

/** A type as accepting uses it. `fill` throws `invalid` for data that does not fit, with pointers under `/data`. */
export interface CurrentType {
  readonly version: string;
  readonly fill: (asked: Asked) => Promise<Filled>;
}

/** What templates may say of the person who reads. */
export interface Reader {
  readonly id: string;
  /** BCP 47. */
  readonly locale: string | null;
  readonly timeZone: string | null;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** Subject and body, or why there are none. */
export type MadeText =
  | { readonly ok: true; readonly subject: string; readonly body: string; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly detail: string; readonly warnings: readonly string[] };
