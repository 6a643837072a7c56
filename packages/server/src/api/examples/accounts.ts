/** For those who look after an account's destinations, with a key or with their own token. */
import { DESTINATION, type Examples } from './example.ts';

const one = { path: { id: DESTINATION } };

export const ACCOUNTS: Examples = {
  'POST /v1/destinations': {
    summary: 'Make a destination',
    body: {
      name: 'Ops',
      channel: 'webhook',
      config: { webhook_url: 'https://ops.example.org/hook' },
      events: { 'order.shipped': true },
      severities: ['high', 'urgent'],
    },
  },
  'GET /v1/destinations': { summary: 'List destinations, newest first', query: { limit: '10' } },
  'GET /v1/destinations/:id': { summary: 'Read a destination', ...one },
  'PATCH /v1/destinations/:id': { summary: 'Change a destination', ...one, body: { events: { 'order.shipped': true, '*': false } } },
  'DELETE /v1/destinations/:id': { summary: 'Delete a destination and end what waits for it', ...one },
  'GET /v1/destinations/:id/secret': { summary: "Read the secret that signs a destination's webhooks", ...one },
  'POST /v1/destinations/:id/rotate-secret': { summary: 'Make a new secret; both sign for a while', ...one, body: { overlap: '24h' } },
  'POST /v1/destinations/:id/test': { summary: 'Send a test and see the answer', ...one },
  'POST /v1/destinations/:id/recover': { summary: 'Enable a destination again and send what is held', ...one },
};
