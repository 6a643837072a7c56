/** For those who write what people are told. */
import type { Examples } from './example.ts';

const ID = 'order.shipped';
const FILES = {
  'event.yaml': 'title: Order shipped\nrecipients: [{ path: $.user_id }]\n',
  'subject.liquid': 'Order {{ data.order_id }} is on its way',
};
/** The version that these files make. */
const VERSION = '4412c762-3aa1-f8ee-a18a-10806b39856e';

export const CATALOG: Examples = {
  'PUT /v1/event-types/:id': { summary: 'Push an event type', path: { id: ID }, body: { files: FILES } },
  'GET /v1/event-types': { summary: 'List event types by name', query: { limit: '10' } },
  'GET /v1/event-types/:id': { summary: 'Read an event type with its files', path: { id: ID } },
  'GET /v1/event-types/:id/versions/:version': { summary: 'Read one version of an event type', path: { id: ID, version: VERSION } },
  'DELETE /v1/event-types/:id': { summary: 'Retire an event type', path: { id: ID } },
};
