/** The door for events: one item or a batch of them, checked and handed to accepting. */
import { setImmediate } from 'node:timers/promises';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CarillonError, type ErrorCode } from '../domain/error.ts';
import type { CurrentType, Filled } from '../domain/event-type.ts';
import type { AcceptAnswer, AcceptItem, AcceptRequest, AcceptResult, CarillonEvent, RequestKey } from '../domain/event.ts';
import { newId, publicId } from '../lib/id.ts';
import type { Caller } from './auth.ts';
import { askedOf, readTraceparent, toItem, type EventContext, type EventWire } from './event-schema.ts';
import { toProblem, type Problem } from './problem.ts';
import { problem } from './schema.ts';
import { invalid } from './validation.ts';

export interface DoorDeps {
  readonly accept: (request: AcceptRequest) => Promise<AcceptAnswer>;
  /** The first answer to a request with this key, or undefined. */
  readonly recall: (tenantId: string, key: RequestKey) => Promise<unknown>;
  /** What the catalog has for this type; null: nothing. */
  readonly eventType: (tenantId: string, type: string) => CurrentType | null | Promise<CurrentType | null>;
  readonly now: () => Date;
  /** Events that were accepted with the caller's key and are new. */
  readonly accepted: (caller: Caller, events: number) => void;
  /** From the settings: 25 days, checked against the retention at start. */
  readonly maxScheduleDays: number;
}

export const Accepted = z.object({ id: z.string(), duplicate: z.boolean() });
/** One shape with optional fields: a union would be told apart at run time, for every item. */
export const BatchAnswer = z.object({
  results: z.array(z.object({ id: z.string().optional(), duplicate: z.boolean().optional(), error: problem.optional() })),
});
export const BatchBody = z.array(z.unknown()).max(1_000);

export type ItemAnswer = { readonly id: string; readonly duplicate: boolean } | { readonly error: Problem };

export interface DoorAnswer<T> {
  readonly body: T;
  readonly replayed: boolean;
}

const YIELD_EVERY = 100;

/** Throws what the item's answer would be in a batch. */
export async function acceptOne(
  deps: DoorDeps,
  request: FastifyRequest,
  wire: EventWire,
): Promise<DoorAnswer<{ id: string; duplicate: boolean }>> {
  const { tenantId } = request.caller;
  const requestKey = request.idempotencyKey();
  const made = prepare(wire, contextOf(deps, request));
  const item = made instanceof Promise ? await made : made;
  if (item instanceof CarillonError) {
    const first = await firstAnswer(deps, request, [item]);
    if (first === undefined) throw item;
    return { body: repeated(oneOf(first)), replayed: true };
  }
  // Asked for twice with a key: for the answer to store, and for this one.
  const fresh = { id: publicId('evt', item.event.id), duplicate: false };
  const compose = ([result]: readonly AcceptResult[]) =>
    result && 'id' in result && !result.duplicate && result.id === item.event.id ? fresh : itemAnswer(result, request.id);
  const answer = await deps.accept({ tenantId, requestKey, items: [item], compose });
  if (answer.kind === 'replayed') return { body: repeated(oneOf(answer.answer)), replayed: true };
  countFresh(deps, request, answer.results);
  return { body: oneOf(compose(answer.results)), replayed: false };
}

/** Of a request, what an event is made with. */
export interface Sender {
  readonly caller: Pick<Caller, 'tenantId'>;
  readonly headers: FastifyRequest['headers'];
}

/** The event that this item would become, were it sent at that time. Throws what its answer would be. */
export async function eventAt(
  deps: Pick<DoorDeps, 'eventType' | 'maxScheduleDays'>,
  sender: Sender,
  { wire, at }: { wire: EventWire; at: Date },
): Promise<CarillonEvent> {
  const item = await prepare(wire, contextOf({ ...deps, now: () => at }, sender));
  if (item instanceof CarillonError) throw item;
  return item.event;
}

/** Each item for itself: a bad one is answered in its place. */
export async function acceptBatch(
  deps: DoorDeps,
  request: FastifyRequest,
  items: readonly unknown[],
  schema: z.ZodType<EventWire>,
): Promise<DoorAnswer<{ results: ItemAnswer[] }>> {
  const prepared = await prepareAll(items, schema, contextOf(deps, request));
  const first = await firstAnswer(deps, request, prepared);
  if (first !== undefined) return { body: allRepeated(first), replayed: true };

  const compose = (results: readonly AcceptResult[]) => ({ results: merge(prepared, results, request.id) });
  const good = prepared.filter((item): item is AcceptItem => !(item instanceof CarillonError));
  if (good.length === 0) return { body: compose([]), replayed: false };
  const answer = await deps.accept({ tenantId: request.caller.tenantId, requestKey: request.idempotencyKey(), items: good, compose });
  if (answer.kind === 'replayed') return { body: allRepeated(answer.answer), replayed: true };
  countFresh(deps, request, answer.results);
  return { body: compose(answer.results), replayed: false };
}

function countFresh({ accepted }: DoorDeps, { caller }: FastifyRequest, results: readonly AcceptResult[]): void {
  let fresh = 0;
  for (const result of results) if ('id' in result && !result.duplicate) fresh++;
  if (fresh > 0) accepted(caller, fresh);
}

interface Context {
  readonly of: (filled: Filled | null) => EventContext;
  readonly typeOf: (wire: EventWire) => ReturnType<DoorDeps['eventType']>;
}

function contextOf({ now, maxScheduleDays, eventType }: Pick<DoorDeps, 'now' | 'maxScheduleDays' | 'eventType'>, sender: Sender): Context {
  const { tenantId } = sender.caller;
  const traceparent = readTraceparent(sender.headers.traceparent);
  const at = now();
  return {
    of: (filled) => ({ tenantId, now: at, id: newId(at), traceparent, maxScheduleDays, filled }),
    typeOf: ({ type }) => (type === undefined ? null : eventType(tenantId, type)),
  };
}

type Prepared = AcceptItem | CarillonError;

async function prepareAll(items: readonly unknown[], schema: z.ZodType<EventWire>, context: Context): Promise<Prepared[]> {
  const prepared: Prepared[] = [];
  for (const item of items) {
    const parsed = schema.safeParse(item);
    const made = parsed.success ? prepare(parsed.data, context) : invalid(parsed.error);
    prepared.push(made instanceof Promise ? await made : made);
    if (prepared.length % YIELD_EVERY === 0) await setImmediate();
  }
  return prepared;
}

/** Without a wait where the catalog has nothing to say, and knows it. */
function prepare(wire: EventWire, context: Context): Prepared | Promise<Prepared> {
  const type = context.typeOf(wire);
  if (type !== null) return prepareTyped(wire, context, type);
  try {
    return toItem(wire, context.of(null));
  } catch (error) {
    return refusalOf(error);
  }
}

async function prepareTyped(wire: EventWire, context: Context, found: CurrentType | Promise<CurrentType | null>): Promise<Prepared> {
  try {
    const type = await found;
    return toItem(wire, context.of(type && (await type.fill(askedOf(wire)))));
  } catch (error) {
    return refusalOf(error);
  }
}

function refusalOf(error: unknown): CarillonError {
  if (error instanceof CarillonError) return error;
  throw error;
}

/**
 * A repeat may come when the schedule that was fine has passed, or the catalog has changed: its first answer counts, not what
 * the clock and the catalog say now. Undefined for a request that is no repeat, or whose items all are valid: accepting sees to those.
 */
async function firstAnswer({ recall }: DoorDeps, request: FastifyRequest, prepared: readonly Prepared[]): Promise<unknown> {
  const key = request.idempotencyKey();
  const refused = prepared.some((item) => item instanceof CarillonError);
  return key && refused ? recall(request.caller.tenantId, key) : undefined;
}

function itemAnswer(result: AcceptResult | undefined, instance: string): ItemAnswer {
  if (!result) throw new Error('accepting gave fewer results than it got items');
  return 'error' in result ? { error: toProblem(result.error, instance) } : { id: publicId('evt', result.id), duplicate: result.duplicate };
}

function merge(prepared: readonly Prepared[], results: readonly AcceptResult[], instance: string): ItemAnswer[] {
  let at = 0;
  return prepared.map((item) =>
    item instanceof CarillonError ? { error: toProblem(item, instance) } : itemAnswer(results[at++], instance),
  );
}

/** A stored answer is what `compose` made, as JSON. */
function oneOf(answer: unknown): { id: string; duplicate: boolean } {
  const item = answer as ItemAnswer;
  if ('error' in item) throw new CarillonError(item.error.code satisfies ErrorCode, item.error.detail, { errors: item.error.errors ?? [] });
  return item;
}

function repeated<T extends ItemAnswer>(item: T): T {
  return 'error' in item ? item : { ...item, duplicate: true };
}

function allRepeated(answer: unknown): { results: ItemAnswer[] } {
  return { results: (answer as { results: ItemAnswer[] }).results.map(repeated) };
}
