/** Event types: the catalog, pushed, read back and retired. */
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { EventTypeFiles, EventTypeSummary } from '../../domain/event-type.ts';
import { SEVERITIES, type Severity } from '../../domain/event.ts';
import type { Database } from '../../store/database.ts';
import {
  INSTALLATION,
  listEventTypes,
  putEventTypes,
  retireEventType,
  versionIn,
  versionsOf,
  type EventTypeRecord,
  type NewEventType,
  type TypeKey,
} from '../../store/event-types.ts';
import { pointerOf } from '../body.ts';
import { found } from '../found.ts';
import type { App } from '../request.ts';
import { callerId, callerIdParams, page, pageQuery, readCursor, toPage, toWire, wireTime } from '../schema.ts';

export interface FileProblem {
  readonly file: string;
  readonly line?: number | undefined;
  readonly message: string;
}

export interface EventTypeDeps {
  readonly database: Pick<Database, 'asTenant'>;
  /** The version that these files make, or what is wrong with them. What only looks like a mistake is a warning. */
  readonly makeVersion: (
    of: TypeKey,
    files: EventTypeFiles,
  ) => Promise<
    | { readonly ok: true; readonly made: NewEventType; readonly warnings: readonly FileProblem[] }
    | { readonly ok: false; readonly problems: readonly FileProblem[] }
  >;
  /** After the commit: this tenant's types are others now. */
  readonly changed: (tenantId: string) => void;
}

const WRITE = { auth: { kind: 'key', scope: 'catalog:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'catalog:read' } } as const;

const Files = z.record(z.string().min(1).max(200), z.string());
const Push = z.strictObject({
  files: Files.describe('Path below the folder of the type → text: `event.yaml`, `subject.liquid`, `locales/de.json` …'),
});
const Version = z.string().describe('From the content: the same files always make the same one.');
const Item = z.object({
  type: z.string(),
  version: Version,
  title: z.string().nullable(),
  category: z.string().nullable(),
  severity: z.enum(Object.keys(SEVERITIES) as Severity[]),
  critical: z.boolean(),
  channels: z.array(z.string()),
  source: z.enum(['files', 'api']).describe("`files`: the operator's, for every tenant without a type of its own of this name."),
  updated_at: wireTime,
});
const Detail = Item.extend({
  files: Files,
  versions: z.array(z.object({ version: Version, source: z.string(), created_at: wireTime })).describe('Newest first, at most 100.'),
});
const Pushed = Item.extend({ warnings: z.array(z.string()).describe('What looks like a mistake: unknown variables, missing texts.') });
const OneVersion = z.object({ type: z.string(), version: Version, files: Files, created_at: wireTime });
const versionParams = z.strictObject({ id: callerId, version: z.guid() });

export function eventTypeRoutes(app: App, deps: EventTypeDeps): void {
  readRoutes(app, deps);
  app.put(
    '/v1/event-types/:id',
    {
      config: WRITE,
      schema: {
        summary: 'Push an event type',
        description: 'All its files; they become current at once. Events that were accepted before keep the version of then.',
        params: callerIdParams,
        body: Push,
        response: { 200: Pushed },
      },
    },
    async ({ caller: { tenantId }, params: { id }, body: { files } }) => push(deps, { tenantId, type: id }, files),
  );
  app.delete(
    '/v1/event-types/:id',
    { config: WRITE, schema: { summary: 'Retire an event type', params: callerIdParams } },
    async ({ caller: { tenantId }, params: { id } }, reply) => {
      if (!(await deps.database.asTenant(tenantId, (tx) => retireEventType(tx, { tenantId, type: id })))) found(undefined);
      deps.changed(tenantId);
      return reply.code(204).send();
    },
  );
}

function readRoutes(app: App, { database }: EventTypeDeps): void {
  app.get(
    '/v1/event-types',
    {
      config: READ,
      schema: { summary: 'List event types by name', querystring: z.strictObject(pageQuery), response: { 200: page(Item) } },
    },
    async ({ caller: { tenantId }, query }) => {
      const after = query.after === undefined ? null : (readCursor(query.after, 1)[0] ?? null);
      const rows = await database.asTenant(tenantId, (tx) => listEventTypes(tx, { tenantId, after, limit: query.limit + 1, type: null }));
      return toPage(rows, query.limit, viewType, ({ type }) => [type]);
    },
  );
  app.get(
    '/v1/event-types/:id',
    { config: READ, schema: { summary: 'Read an event type with its files', params: callerIdParams, response: { 200: Detail } } },
    async ({ caller: { tenantId }, params: { id: type } }) =>
      database.asTenant(tenantId, async (tx) => {
        const [row] = await listEventTypes(tx, { tenantId, after: null, limit: 1, type });
        const current = found(row);
        const { files } = found(await versionIn(tx, tenantId, current.version));
        const versions = (await versionsOf(tx, { tenantId, type })).map(({ version, owner, createdAt }) => ({
          version,
          source: sourceOf(owner),
          created_at: toWire(createdAt),
        }));
        return { ...viewType(current), files: { ...files }, versions };
      }),
  );
  app.get(
    '/v1/event-types/:id/versions/:version',
    { config: READ, schema: { summary: 'Read one version of an event type', params: versionParams, response: { 200: OneVersion } } },
    async ({ caller: { tenantId }, params: { id, version } }) => {
      const stored = found(await database.asTenant(tenantId, (tx) => versionIn(tx, tenantId, version)));
      if (stored.type !== id) found(undefined);
      return { type: stored.type, version, files: { ...stored.files }, created_at: toWire(stored.createdAt) };
    },
  );
}

async function push({ database, makeVersion, changed }: EventTypeDeps, { tenantId, type }: TypeKey, files: EventTypeFiles) {
  const answer = await makeVersion({ tenantId, type }, files);
  if (!answer.ok) {
    throw new CarillonError('invalid', `These files make no event type: ${describe(answer.problems[0])}`, {
      errors: answer.problems
        .slice(0, 100)
        .map((problem) => ({ pointer: pointerTo(problem.file), code: 'catalog', detail: describe(problem) })),
    });
  }
  const row = await database.asTenant(tenantId, async (tx) => {
    await putEventTypes(tx, tenantId, [answer.made]);
    return found((await listEventTypes(tx, { tenantId, after: null, limit: 1, type }))[0]);
  });
  changed(tenantId);
  return { ...viewType(row), warnings: answer.warnings.map(describe) };
}

function pointerTo(file: string): string {
  return file === '.' ? '/files' : pointerOf(['files', file]);
}

function describe(problem: FileProblem | undefined): string {
  if (!problem) return 'something is wrong with them';
  return `${problem.file}${problem.line === undefined ? '' : `:${problem.line}`}: ${problem.message}`;
}

function viewType({ type, version, summary, owner, updatedAt }: EventTypeRecord): z.output<typeof Item> {
  const { title, category, severity, critical, channels }: EventTypeSummary = summary;
  return {
    type,
    version,
    title,
    category,
    severity,
    critical,
    channels: [...channels],
    source: sourceOf(owner),
    updated_at: toWire(updatedAt),
  };
}

function sourceOf(owner: string): 'files' | 'api' {
  return owner === INSTALLATION ? 'files' : 'api';
}
