/** One-click unsubscribe (RFC 8058): the link in a mail's header. Nobody signs in; the token in the path says who it is for. */
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Tx } from '../../domain/event.ts';
import type { ListedAddress } from '../../domain/suppression.ts';
import type { OptOut } from '../../lib/unsubscribe.ts';
import type { Database } from '../../store/database.ts';
import { suppress } from '../../store/suppressions.ts';
import { optOut } from '../../store/preferences.ts';
import { found } from '../found.ts';
import type { App } from '../request.ts';
import { askPage, donePage, UNSUBSCRIBE_POLICY } from '../unsubscribe-page.ts';

export interface UnsubscribeDeps {
  readonly database: Pick<Database, 'asTenant'>;
  /** Undefined for what this installation has not made. */
  readonly readToken: (token: string) => OptOut | undefined;
  readonly listed: (address: ListedAddress) => ListedAddress;
  readonly productName: string;
}

const config = { auth: { kind: 'none' } } as const;
const params = z.strictObject({ token: z.string() });
/** A mail program posts `List-Unsubscribe=One-Click`, as a form of either kind. */
const MAX_BODY = 4_096;

export function unsubscribeRoutes(app: App, { database, readToken, listed, productName }: UnsubscribeDeps): void {
  const page = { params, produces: 'text/html', hide: true }; // for people with a link, not for callers of the API
  // A scope of its own: whatever the body is, it says nothing that the token does not.
  void app.register((scope, _options, done) => {
    const forms = scope as App;
    forms.removeAllContentTypeParsers();
    forms.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: MAX_BODY }, (_request, _bytes, parsed) => {
      parsed(null, undefined);
    });
    forms.get('/unsubscribe/:token', { config, schema: page }, async (request, reply) => {
      found(readToken(request.params.token));
      return send(reply, askPage(productName));
    });
    forms.post('/unsubscribe/:token', { config, schema: page }, async (request, reply) => {
      const wish = found(readToken(request.params.token));
      found((await database.asTenant(wish.tenantId, (tx) => grant(tx, wish, listed))) || undefined);
      return send(reply, donePage(productName));
    });
    done();
  });
}

/** False when the tenant is gone. */
async function grant(tx: Tx, { tenantId, channel, of }: OptOut, listed: UnsubscribeDeps['listed']): Promise<boolean> {
  if ('user' in of) return optOut(tx, { tenantId, id: of.user }, channel);
  const given = { reason: 'manual', source: 'unsubscribe', detail: null, deliveryId: null } as const;
  await suppress(tx, { ...listed({ tenantId, channel, address: of.address }), ...given });
  return true;
}

function send(reply: FastifyReply, page: string): FastifyReply {
  return reply
    .header('content-security-policy', UNSUBSCRIBE_POLICY)
    .header('referrer-policy', 'no-referrer')
    .header('cache-control', 'no-store')
    .type('text/html; charset=utf-8')
    .send(page);
}
