/** For the people who are told, and those who look after their profiles. */
import { MAILED, NOTIFICATION, type Examples } from './example.ts';

const ADA = { email: 'ada@example.org', locale: 'en', time_zone: 'Europe/London', roles: ['owner'] };
const PREFERENCES = { channels: { email: { enabled: false } } };
const ada = { path: { id: 'ada' } };
const topic = { path: { id: 'project:7' } };
const item = { path: { id: NOTIFICATION } };

export const PEOPLE: Examples = {
  'PUT /v1/users/:id': { summary: 'Make or replace a user', ...ada, body: ADA },
  'POST /v1/users/batch': { summary: 'Make or replace up to 1,000 users', body: [{ id: 'ada', ...ADA }, { id: 'bob' }] },
  'GET /v1/users': { summary: 'List users by id', query: { limit: '10' } },
  'GET /v1/users/:id': { summary: 'Read a user', ...ada },
  'DELETE /v1/users/:id': { summary: 'Erase a user and everything told to that user', path: { id: 'bob' } },
  'GET /v1/users/:id/notifications': { summary: 'List what a user was told', ...ada, query: { limit: '10' } },
  'GET /v1/users/:id/preferences': { summary: "Read a user's preferences", ...ada },
  'PUT /v1/users/:id/preferences': { summary: "Replace a user's preferences", ...ada, body: PREFERENCES },
  'GET /v1/users/:id/preferences/effective': {
    summary: 'Explain what would reach a user, and why',
    ...ada,
    query: { type: 'execution.failed', severity: 'high' },
  },
  'GET /v1/users/:id/throttle': { summary: 'Read what counts towards a throttle', ...ada },
  'POST /v1/users/:id/clear-throttle': { summary: "Let a user's throttle begin anew", ...ada },
  'GET /v1/preferences/defaults': { summary: 'Read what preferences start from' },
  'PUT /v1/preferences/defaults': {
    summary: 'Replace what preferences start from',
    body: { channels: { email: { severities: ['high', 'urgent'] } } },
  },
  'POST /v1/users/:id/token': { summary: "Mint a token for a user's inbox", ...ada },
  'GET /v1/users/:id/webhook-secret': { summary: "Read the secret that signs a user's webhooks", ...ada },
  'POST /v1/users/:id/rotate-secret': { summary: "Rotate the secret of a user's webhooks", ...ada, body: { overlap_seconds: 3600 } },

  'PUT /v1/topics/:id/subscriptions/:user_id': { summary: 'Subscribe a user to a topic', path: { id: 'project:7', user_id: 'ada' } },
  'DELETE /v1/topics/:id/subscriptions/:user_id': { summary: 'End a subscription', path: { id: 'project:7', user_id: 'ada' } },
  'POST /v1/topics/:id/subscribe': { summary: 'Subscribe up to 1,000 users', ...topic, body: { user_ids: ['ada', 'bob'] } },
  'POST /v1/topics/:id/unsubscribe': { summary: 'End up to 1,000 subscriptions', ...topic, body: { user_ids: ['ada', 'bob'] } },
  'GET /v1/topics/:id/subscriptions': { summary: "List a topic's subscribers", ...topic },
  'GET /v1/users/:id/topics': { summary: 'List what a user is subscribed to', ...ada },
  'GET /v1/topics': { summary: 'List topics' },
  'GET /v1/topics/:id': { summary: 'Read a topic', ...topic },
  'DELETE /v1/topics/:id': { summary: 'Delete a topic', ...topic },

  'POST /v1/suppressions': { summary: 'Suppress an address', body: { channel: 'email', address: 'carol@example.org' } },
  'GET /v1/suppressions': { summary: 'List suppressed addresses', query: { channel: 'email' } },
  'DELETE /v1/suppressions/:id': { summary: 'Write to an address again', path: { id: 'email:carol@example.org' } },

  'POST /v1/bounces': { summary: 'Report what came back of a mail', body: { type: 'soft', delivery_id: MAILED, detail: 'mailbox full' } },

  'GET /v1/inbox': { summary: 'List the inbox, newest first', query: { status: 'unread', limit: '10' } },
  'GET /v1/inbox/unread-count': { summary: 'Count what is unread' },
  'GET /v1/inbox/preferences': { summary: 'Read your preferences' },
  'PUT /v1/inbox/preferences': { summary: 'Replace your preferences', body: PREFERENCES },
  'GET /v1/inbox/stream': { summary: 'Follow the inbox live (server-sent events)', query: { after: '0' }, credential: 'TOKEN' },
  'POST /v1/inbox/stream-ticket': { summary: 'Get a ticket for a stream in a browser, good once and for 60 s' },
  'POST /v1/inbox/read-all': { summary: 'Mark everything as read' },
  'POST /v1/inbox/:id/read': { summary: 'Mark as read', ...item },
  'POST /v1/inbox/:id/unread': { summary: 'Mark as unread', ...item },
  'POST /v1/inbox/:id/archive': { summary: 'Archive', ...item },
  'POST /v1/inbox/:id/click': { summary: 'Note a click on the link', ...item },
  'DELETE /v1/inbox/:id': { summary: 'Delete from the inbox', ...item },
};
