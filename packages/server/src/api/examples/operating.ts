/** For those who run it: tenants, keys, health. */
import { KEY, type Examples } from './example.ts';

export const OPERATING: Examples = {
  'GET /health/live': { summary: 'Whether the process runs' },
  'GET /health/ready': { summary: 'Whether requests can be served' },

  'POST /v1/tenants': { summary: 'Make a tenant', body: { id: 'acme' } },
  'GET /v1/tenants': { summary: 'List tenants by id', query: { limit: '10' } },
  'GET /v1/tenants/:id': { summary: 'Read a tenant', path: { id: 'default' } },
  'PATCH /v1/tenants/:id': { summary: 'Change a tenant', path: { id: 'default' }, body: {} },

  'POST /v1/api-keys': { summary: 'Make an API key', body: { name: 'billing', scopes: ['events:write'] } },
  'GET /v1/api-keys': { summary: 'List API keys, newest first', query: { limit: '10' } },
  'GET /v1/api-keys/:id': { summary: 'Read an API key', path: { id: KEY } },
  'POST /v1/api-keys/:id/rotate': { summary: 'Make a key that takes over', path: { id: KEY } },
  'DELETE /v1/api-keys/:id': { summary: 'Revoke an API key', path: { id: KEY } },
};
