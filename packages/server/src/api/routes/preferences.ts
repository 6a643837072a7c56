/** What users want, what their tenant says of everybody, and what would come of both. */
import { getDefaults, putDefaults } from '../../store/preferences.ts';
import { loadRecipients } from '../../store/recipients.ts';
import { found } from '../found.ts';
import { defaultsSchema, EffectiveAnswer, EffectiveQuery, preferencesSchema } from '../preference-schema.ts';
import { readPreferences, replacePreferences, viewExplained, type PreferenceDeps } from '../preferences.ts';
import type { App } from '../request.ts';
import { callerIdParams, toWire } from '../schema.ts';

const WRITE = { auth: { kind: 'key', scope: 'users:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'users:read' } } as const;

export function preferenceRoutes(app: App, deps: PreferenceDeps): void {
  const { database, channels } = deps;
  const Preferences = preferencesSchema(channels, deps);
  const ofUser = { params: callerIdParams, response: { 200: Preferences } };
  app.get('/v1/users/:id/preferences', { config: READ, schema: ofUser }, async ({ caller: { tenantId }, params: { id } }) =>
    found(await database.asTenant(tenantId, (tx) => readPreferences(deps, tx, { tenantId, id }))),
  );
  app.put(
    '/v1/users/:id/preferences',
    { config: WRITE, schema: { ...ofUser, body: Preferences } },
    async ({ caller: { tenantId }, params: { id }, body }) => replacePreferences(deps, { tenantId, id }, body),
  );
  effectiveRoute(app, deps);
  defaultsRoutes(app, deps);
}

function effectiveRoute(app: App, { database, defaults, explain, now }: PreferenceDeps): void {
  const schema = { params: callerIdParams, querystring: EffectiveQuery, response: { 200: EffectiveAnswer } };
  app.get('/v1/users/:id/preferences/effective', { config: READ, schema }, async ({ caller: { tenantId }, params: { id }, query }) => {
    const { user, ofTenant } = await database.asTenant(tenantId, async (tx) => {
      const [recipient] = await loadRecipients(tx, [{ tenantId, userId: id }]);
      const defaultsOf = await defaults.read(tx, new Set([tenantId]));
      return { user: found(recipient), ofTenant: defaultsOf(tenantId) };
    });
    const { at = now(), category = null, ...rest } = query;
    const subject = { ...rest, category };
    const decisions = explain({ tenantId, user }, subject, { at, defaults: ofTenant });
    return { ...subject, at: toWire(at), channels: decisions.map(viewExplained) };
  });
}

function defaultsRoutes(app: App, { database, channels, defaults }: PreferenceDeps): void {
  const Defaults = defaultsSchema(channels);
  const response = { 200: Defaults };
  app.get('/v1/preferences/defaults', { config: READ, schema: { response } }, async ({ caller: { tenantId } }) =>
    database.asTenant(tenantId, (tx) => getDefaults(tx, tenantId)),
  );
  app.put('/v1/preferences/defaults', { config: WRITE, schema: { body: Defaults, response } }, async ({ caller: { tenantId }, body }) => {
    await database.asTenant(tenantId, (tx) => putDefaults(tx, tenantId, body));
    defaults.forget();
    return body;
  });
}
