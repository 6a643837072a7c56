/** For those who send: events, notifications, and what became of them. */
import { DELIVERY, EVENT, NOTIFICATION, RECURRING, TOLD, type Examples } from './example.ts';

const TELLING = { to: ['ada'], subject: 'Disk almost full', body: '92 % used', severity: 'high', tags: ['system'] };

export const PRODUCING: Examples = {
  'POST /v1/events': {
    summary: 'Report something that happened',
    body: { type: 'execution.failed', data: { execution_id: '7f3' }, to: ['ada'], severity: 'high', tags: ['exec:7f3'] },
  },
  'POST /v1/events/batch': {
    summary: 'Report up to 1,000 events',
    body: [
      { type: 'execution.completed', data: { execution_id: '7f4' }, to: ['ada'], idempotency_key: '7f4-completed' },
      { type: 'execution.failed', data: { execution_id: '7f5' }, to: ['bob'] },
    ],
  },
  'POST /v1/events/preview': {
    summary: 'See what would become of an event, without sending it',
    body: { type: 'execution.failed', data: { execution_id: '7f3' }, to: ['ada'], severity: 'high', channels: ['in_app', 'email'] },
  },
  'GET /v1/events': { summary: 'List events, newest first', query: { type: 'execution.failed', limit: '10' } },
  'GET /v1/events/:id': { summary: 'Read an event and what became of it', path: { id: EVENT } },
  'GET /v1/events/:id/progress': { summary: 'Read how far telling everybody has come', path: { id: EVENT } },
  'POST /v1/events/:id/cancel': { summary: 'Cancel what has not been sent', path: { id: EVENT } },

  'POST /v1/notifications': { summary: 'Tell people something', body: TELLING },
  'POST /v1/notifications/batch': { summary: 'Tell up to 1,000 things', body: [TELLING, { to: [{ user_id: 'bob' }], subject: 'Welcome' }] },
  'GET /v1/notifications': { summary: 'List notifications, newest first', query: { user: 'ada', limit: '10' } },
  'GET /v1/notifications/:id': { summary: 'Read a notification and its timeline', path: { id: NOTIFICATION } },
  'DELETE /v1/notifications/:id': { summary: 'Hide a notification and cancel what is pending', path: { id: NOTIFICATION } },
  'POST /v1/notifications/:id/cancel': { summary: 'Cancel what has not been sent to this user', path: { id: NOTIFICATION } },

  'POST /api/notifications': { summary: 'Submit a notification (alias)', body: TELLING },
  'GET /api/notifications': { summary: 'List what was submitted (alias)', query: { limit: '10', offset: '0', deleted: 'true' } },
  'GET /api/notifications/:id': { summary: 'Read what was submitted (alias)', path: { id: TOLD } },
  'DELETE /api/notifications/:id': { summary: 'Mark as deleted, and send nothing more of it (alias)', path: { id: TOLD } },

  'POST /v1/recurring-events': {
    summary: 'Report the same event again and again',
    body: {
      name: 'Stand-up',
      cron: '0 9 * * mon-fri',
      time_zone: 'Europe/Berlin',
      event: { to: ['ada'], subject: 'Stand-up in ten minutes' },
    },
  },
  'GET /v1/recurring-events': { summary: 'List recurring events, newest first', query: { limit: '10' } },
  'GET /v1/recurring-events/:id': { summary: 'Read a recurring event with its next times', path: { id: RECURRING } },
  'PATCH /v1/recurring-events/:id': { summary: 'Change or pause a recurring event', path: { id: RECURRING }, body: { active: false } },
  'DELETE /v1/recurring-events/:id': { summary: 'End a recurring event', path: { id: RECURRING } },

  'GET /v1/deliveries': { summary: 'List deliveries, newest first', query: { status: 'failed', limit: '10' } },
  'GET /v1/deliveries/:id': { summary: 'Read a delivery with its attempts', path: { id: DELIVERY } },
  'POST /v1/deliveries/:id/retry': { summary: 'Try a failed delivery once more', path: { id: DELIVERY } },
};
