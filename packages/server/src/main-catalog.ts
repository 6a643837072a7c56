/** The catalog, wired: the operator's files, what tenants pushed, and how processes hear of changes. Part of the composition root. */
import { existsSync } from 'node:fs';
import { bundle, checkFiles, toVersion } from './catalog/bundle.ts';
import type { KnownChannels } from './catalog/channel-rules.ts';
import { makeCatalog, type Catalog } from './catalog/catalog.ts';
import { fingerprint, loadCatalog } from './catalog/load.ts';
import { below, CatalogError, describeProblem, type Problem } from './catalog/problem.ts';
import type { Rendered, Scope } from './catalog/liquid.ts';
import type { Version } from './catalog/version.ts';
import { digestScope, scopeFor, textsOf, type Place } from './catalog/scope.ts';
import { makeSandbox, type Sandbox } from './catalog/sandbox.ts';
import type { Validated } from './catalog/sandbox-worker.ts';
import type { EventTypeDeps } from './api/routes/event-types.ts';
import type { Registry } from './channels/registry.ts';
import { maxDelayMs } from './config-time.ts';
import type { Config } from './config.ts';
import type { ChannelFacts } from './domain/channel.ts';
import type { DeliveryJob } from './domain/delivery.ts';
import { DIGEST_TYPE } from './domain/digest.ts';
import type { Tx } from './domain/event.ts';
import type { EventTypeFiles, EventTypeVersion, Reader } from './domain/event-type.ts';
import { TemplateFailed, type Written } from './domain/written.ts';
import type { Core } from './main-core.ts';
import type { WriteTexts } from './router/texts.ts';
import type { Chore } from './scheduler/scheduler.ts';
import type { Database } from './store/database.ts';
import {
  changedOwners,
  currentVersions,
  findVersion,
  INSTALLATION,
  putEventTypes,
  retireOthers,
  versionIn,
  type NewEventType,
} from './store/event-types.ts';
import { tenantSettings } from './store/tenants.ts';
import type { Log } from './telemetry/log.ts';

export interface CatalogParts {
  readonly catalog: Catalog<Tx>;
  readonly makeVersion: EventTypeDeps['makeVersion'];
  /** Subject and body of an event for each reader. */
  readonly texts: WriteTexts;
  /** What the templates of its type make for a delivery's channel. Throws TemplateFailed. */
  readonly written: (job: DeliveryJob) => Promise<Written | undefined>;
  readonly chores: readonly Chore[];
  readonly close: () => Promise<void>;
}

const DEFAULT_DIRECTORY = 'catalog';
const THREADS = 2;
const RELOAD_MS = 500;
const POLL_MS = 5_000;
/** Longer than the poll, and than a transaction that was open while the last poll looked. */
const LOOK_BACK_MS = 30_000;

/** Undefined: there is no catalog of files. */
export function catalogDirectory(config: Pick<Config, 'catalog.dir'>): string | undefined {
  return config['catalog.dir'] ?? (existsSync(DEFAULT_DIRECTORY) ? DEFAULT_DIRECTORY : undefined);
}

/** What an event type may say of each. */
export function knownChannels(config: Config, facts: readonly Pick<ChannelFacts, 'name' | 'delaysMs'>[]): KnownChannels {
  return Object.fromEntries(facts.map(({ name, delaysMs }) => [name, { maxDelayMs: maxDelayMs(config, delaysMs) }]));
}

/** Loaded when there is something to read: templates and schemas bring libraries along. */
const validation = () => import('./catalog/validate.ts');

/** What looks like a mistake in files that are valid. */
export async function mistakesIn(versions: readonly EventTypeVersion[]): Promise<Problem[]> {
  const { mistakesOf } = await validation();
  return versions.flatMap(({ type, files }) => below(type, mistakesOf(type, files)));
}

/** Throws CatalogError with everything that is wrong with the files. */
export async function readCatalog(directory: string, channels: KnownChannels): Promise<readonly EventTypeVersion[]> {
  const missing = [{ file: '.', message: 'does not exist: make it, or change catalog.dir' }];
  if (!existsSync(directory)) throw new CatalogError(directory, missing);
  const { problemsOf } = await validation();
  const { versions, problems } = loadCatalog(directory, (type, files) => problemsOf(type, files, channels));
  if (problems.length > 0) throw new CatalogError(directory, problems);
  return versions;
}

/** Makes what the files say current, once they have been read. `changed` tells other processes. */
export async function openCatalog(core: Core, channels: Registry, changed: () => void): Promise<CatalogParts> {
  const { config, database, clock, defaults, opened, log } = core;
  const known = knownChannels(config, [...channels.facts.values()]);
  const directory = catalogDirectory(config);
  const versions = directory === undefined ? undefined : await readCatalog(directory, known);
  const sandbox = makeSandbox({ deadlineMs: config['catalog.deadline'], threads: THREADS, monotonicMs: clock.monotonicMs, log });
  const catalog = makeCatalog<Tx>({
    loadCurrent: async (owner) => {
      const [types, settings] = await Promise.all([currentVersions(database.engine, owner), tenantSettings(database.engine, owner)]);
      return { types, settings };
    },
    findVersion: (tx, tenantId, version) => (tx ? versionIn(tx, tenantId, version) : findVersion(database.engine, tenantId, version)),
    sandbox,
  });
  const install = async (read: readonly EventTypeVersion[]) => {
    if (!(await installFiles(database, read))) return;
    catalog.forget(INSTALLATION);
    changed();
  };
  if (versions) await install(versions);
  return {
    catalog,
    ...renderers(catalog, (tenantId) => ({ productName: config.product_name, tenant: defaults.settingsOf(tenantId) })),
    makeVersion: (of, files) => makeVersion(sandbox, known, { ...of, files }),
    chores: [
      ...(opened.exclusive ? [] : [{ name: 'catalog-changes', everyMs: POLL_MS, run: () => forgetChanged(database, catalog) }]),
      ...(directory !== undefined && config.env === 'development' ? [reload({ directory, known, install, log })] : []),
    ],
    close: sandbox.close,
  };
}

/** Routing and claiming have read the settings of their tenants. */
function renderers(catalog: Catalog<Tx>, placeOf: (tenantId: string) => Place): Pick<CatalogParts, 'texts' | 'written'> {
  return {
    texts: async (tx, { id, tenantId, type, version: pinned, request, severity, tags, acceptedAt }, readers) => {
      const version = await catalog.version(tx, tenantId, pinned ?? '');
      const about = { eventId: id, type, severity, tags, acceptedAt, data: request.data, actionUrl: request.action_url ?? null };
      const made = await textsOf(version, about, { readers, ...placeOf(tenantId) });
      return made.map((text) => (text.ok ? { ...text.value, ok: true, warnings: text.warnings } : text));
    },
    written: async (job) => {
      const { tenantId, event, content, channel } = job;
      const version = await catalog.version(null, tenantId, event.version ?? '');
      const about = { ...content, eventId: job.eventId, type: event.type, acceptedAt: event.acceptedAt, data: event.data };
      const who = { reader: readerIn(job), ...placeOf(tenantId) };
      if (event.type === DIGEST_TYPE)
        return writtenDigest(version, channel, digestScope(version, { ...about, ...content, type: version.type }, who));
      const scope = scopeFor(version, about, who);
      const [text] = job.notificationId === null ? await version.notifications([scope]) : [];
      const notification = madeOf(text);
      const { subject, body } = notification ?? content;
      const made = await version.channel(channel, { ...scope, values: { ...scope.values, subject, body } });
      const warnings = [...(text?.warnings ?? []), ...(made?.warnings ?? [])];
      return { html: undefined, text: undefined, payload: undefined, ...(made && madeOf(made)), notification, warnings };
    },
  };
}

/** Of templates that fail nothing is taken: what would be said without any is said, so that no item is lost. */
async function writtenDigest(version: Version, channel: string, scope: Scope): Promise<Written | undefined> {
  if (!version.digests) return undefined;
  const [[text], made] = [await version.notifications([scope]), await version.channel(channel, scope)];
  const warnings = [text, made].flatMap((part) => [...(part?.warnings ?? []), ...(part?.ok === false ? [part.detail] : [])]);
  const nothing = { html: undefined, text: undefined, payload: undefined };
  if (!text?.ok || made?.ok === false) return { ...nothing, warnings };
  return { ...nothing, ...made?.value, notification: text.value, warnings };
}

/** A destination is nobody. */
function readerIn({ userId, recipient, reader }: DeliveryJob): Reader {
  const { locale = null, timeZone = null, attributes = {} } = recipient ?? reader ?? {};
  return { id: userId ?? '', locale, timeZone, attributes };
}

function madeOf<T>(made: Rendered<T> | undefined): T | undefined {
  if (made?.ok === false) throw new TemplateFailed(made.detail);
  return made?.value;
}

/** False when all was so already. */
async function installFiles(database: Database, versions: readonly EventTypeVersion[]): Promise<boolean> {
  const { summaryIn } = await validation();
  const types = versions.map((version): NewEventType => ({ ...version, summary: summaryIn(version.files) }));
  return database.transaction(async (tx) => {
    const put = types.length > 0 ? await putEventTypes(tx, INSTALLATION, types) : [];
    const retired = await retireOthers(
      tx,
      types.map(({ type }) => type),
    );
    return put.length + retired.length > 0;
  });
}

/** What a lost hint was about. */
async function forgetChanged(database: Database, catalog: Catalog<Tx>): Promise<void> {
  for (const owner of await changedOwners(database.engine, LOOK_BACK_MS)) catalog.forget(owner);
}

interface Reload {
  readonly directory: string;
  readonly known: KnownChannels;
  readonly install: (versions: readonly EventTypeVersion[]) => Promise<void>;
  readonly log: Log;
}

/** Files that changed hold from then on; broken ones are reported, and what was current stays. */
function reload({ directory, known, install, log }: Reload): Chore {
  let seen = fingerprint(directory);
  const run = async () => {
    const now = fingerprint(directory);
    if (now === seen) return;
    seen = now;
    try {
      const versions = await readCatalog(directory, known);
      await install(versions);
      log('catalog.reloaded', { types: versions.length });
    } catch (error) {
      if (!(error instanceof CatalogError)) throw error;
      log('catalog.broken', { problems: error.problems.map(describeProblem) });
    }
  };
  return { name: 'catalog-files', everyMs: RELOAD_MS, run };
}

type Made = ReturnType<EventTypeDeps['makeVersion']>;

/** What a tenant wrote is read and tried in a thread that can be killed. */
async function makeVersion(
  sandbox: Sandbox,
  channels: KnownChannels,
  { tenantId, type, files: given }: { tenantId: string; type: string; files: EventTypeFiles },
): Made {
  const isShared = (name: string) => name.startsWith('_');
  const own = Object.fromEntries(Object.entries(given).filter(([name]) => !isShared(name)));
  const version = toVersion(type, bundle(own, Object.fromEntries(Object.entries(given).filter(([name]) => isShared(name)))));
  // Of these only what is used becomes part of the version: a wrong name is said all the same.
  const unusable = checkFiles(given, Object.keys(channels)).filter(({ file }) => isShared(file));
  const ran = await sandbox.run<Validated>(
    { owner: tenantId, key: `${version.version}:check`, type, files: version.files },
    { kind: 'validate', channels },
  );
  if (!ran.ok) return { ok: false, problems: [{ file: '.', message: `can't be checked: ${ran.detail}` }] };
  const { summary, mistakes, problems: found } = ran.value;
  const problems = [...unusable, ...found.filter(({ file }) => !unusable.some((one) => one.file === file))];
  if (problems.length > 0 || !summary) return { ok: false, problems };
  return { ok: true, made: { ...version, summary }, warnings: mistakes };
}
