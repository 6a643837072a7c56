/** What probes and Prometheus ask. Without credentials, and without anything that is worth hiding. */
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { App } from '../request.ts';

export interface HealthDeps {
  /** `store/health.ts` appliedMigration. */
  readonly appliedMigration: () => Promise<number>;
  /** The last migration that this program knows: an older schema is not ready. */
  readonly knownMigration: number;
  /** Stopping: no new work should come. */
  readonly draining: () => boolean;
  readonly metrics: { readonly text: () => Promise<string>; readonly contentType: string };
}

const DATABASE_TIMEOUT_MS = 2_000;
const Healthy = z.object({ status: z.literal('ok') });

export function healthRoutes(app: App, deps: HealthDeps): void {
  const config = { auth: { kind: 'none' } } as const;
  const response = { 200: Healthy };

  app.get('/health/live', { config, exposeHeadRoute: true, schema: { summary: 'Whether the process runs', response } }, () => ({
    status: 'ok' as const,
  }));

  app.get('/health/ready', { config, exposeHeadRoute: true, schema: { summary: 'Whether requests can be served', response } }, async () => {
    const problem = await notReady(deps);
    if (problem !== undefined) throw new CarillonError('unavailable', problem, { retryAfterS: 1 });
    return { status: 'ok' as const };
  });

  app.get('/metrics', { config, schema: { hide: true } }, async (_request, reply) =>
    reply.type(deps.metrics.contentType).send(await deps.metrics.text()),
  );
}

async function notReady({ appliedMigration, knownMigration, draining }: HealthDeps): Promise<string | undefined> {
  if (draining()) return 'This process is stopping.';
  const applied = await Promise.race([appliedMigration(), timeout()]).catch(() => undefined);
  if (applied === undefined) return 'The database does not answer.';
  return applied < knownMigration ? 'The database has not been migrated to this version.' : undefined;
}

/** A probe must get an answer while the database hangs. */
function timeout(): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(() => {
      resolve(undefined);
    }, DATABASE_TIMEOUT_MS).unref();
  });
}
