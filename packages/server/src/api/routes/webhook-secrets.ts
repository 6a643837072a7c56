/** What a user's webhooks are signed with: read, and rotated with an overlap. */
import { z } from 'zod';
import { deriveWebhookSecret } from '../../lib/crypto.ts';
import { publicKeyOf } from '../../lib/webhook-signature.ts';
import type { Database } from '../../store/database.ts';
import { getUser } from '../../store/users.ts';
import { rotatedSecret, rotateSecret, type RotatedSecret } from '../../store/webhook-secrets.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import type { App } from '../request.ts';
import { callerIdParams, toWire, wireTime } from '../schema.ts';

export interface WebhookSecretDeps {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  /** The tenant's key for webhooks, opened. */
  readonly tenantSecret: (tenantId: string) => Promise<Uint8Array>;
  /** After the commit: this process signs with the new one at once. */
  readonly rotated: (secret: RotatedSecret) => void;
  readonly overlapMs: number;
  readonly now: () => Date;
}

const WRITE = { auth: { kind: 'key', scope: 'users:write' } } as const;
const MAX_OVERLAP_S = 30 * 86_400;

const Secret = z.object({
  secret: z.string().optional().describe('Only in the first answer to a request with an Idempotency-Key.'),
  public_key: z.string().describe('For receivers that verify signatures v1a.'),
  previous_until: wireTime.nullable().describe('Until then the secret before signs too.'),
});
const Rotation = z
  .strictObject({
    overlap_seconds: z
      .int()
      .min(0)
      .max(MAX_OVERLAP_S)
      .optional()
      .describe('How long the old secret still signs. Default: webhook.rotation_overlap.'),
  })
  .default({});

export function webhookSecretRoutes(app: App, deps: WebhookSecretDeps): void {
  const { database, tenantSecret, now } = deps;
  app.get(
    '/v1/users/:id/webhook-secret',
    { config: WRITE, schema: { params: callerIdParams, response: { 200: Secret } } },
    async ({ caller: { tenantId }, params: { id } }) => {
      const rotation = await database.asTenant(tenantId, async (tx) => {
        found(await getUser(tx, { tenantId, id }));
        return rotatedSecret(tx, { tenantId, id });
      });
      return view(deriveWebhookSecret(await tenantSecret(tenantId), id, rotation?.number), rotation, now());
    },
  );
  app.post(
    '/v1/users/:id/rotate-secret',
    {
      config: WRITE,
      schema: {
        description: 'Both sign until the overlap ends, then only the new one. Other processes follow within five seconds.',
        params: callerIdParams,
        body: Rotation,
        response: { 200: Secret },
      },
    },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const { id } = request.params;
      const seconds = request.body.overlap_seconds;
      const key = await tenantSecret(tenantId);
      let rotation: RotatedSecret | undefined;
      const answer = await once(deps.once, request, async (tx) => {
        found(await getUser(tx, { tenantId, id }));
        rotation = await rotateSecret(tx, { tenantId, id }, seconds === undefined ? deps.overlapMs : seconds * 1_000);
        const { secret, ...rest } = view(deriveWebhookSecret(key, id, rotation.number), rotation, now());
        return { status: 200 as const, body: { secret, ...rest } as z.output<typeof Secret>, replayBody: rest };
      });
      if (rotation) deps.rotated(rotation);
      return sendAnswer(reply, answer);
    },
  );
}

/** As Standard Webhooks spells them. */
function view(secret: Buffer, rotation: RotatedSecret | undefined, now: Date): z.output<typeof Secret> {
  const until = rotation?.previousUntil != null && rotation.previousUntil > now ? rotation.previousUntil : null;
  return { secret: `whsec_${secret.toString('base64')}`, public_key: publicKeyOf(secret), previous_until: toWire(until) };
}
