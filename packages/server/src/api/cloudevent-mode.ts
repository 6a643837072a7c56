/** How the router tells CloudEvents from events of our own shape, which come to the same path. */
import type { IncomingHttpHeaders } from 'node:http';
import { modeOf } from '../ingest/cloudevents.ts';

/** A constraint of the router: which handler of a path takes a request that is in one of the modes. */
export const cloudEvents = {
  name: 'cloudEvents',
  storage: () => new Map<unknown, never>() as never,
  validate: () => true,
  // Undefined for nearly all requests, as a constraint may be; the types don't know that.
  deriveConstraint: ({ headers }: { headers: IncomingHttpHeaders }) => modeOf(headers) as string,
};
